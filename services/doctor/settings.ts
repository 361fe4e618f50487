import { z } from 'zod';
import { common, type Settings, url } from '#service/config';

/** The environment of the command that looks for what keeps events from being heard. */
export const settings = {
  NAMESPACE: { schema: z.string().min(1), doc: 'the namespace that it looks at' },
  API_URL: { schema: url('http', 'https'), doc: "the system's API, which knows what was heard" },
  OPERATOR_TOKEN: common.OPERATOR_TOKEN,
  KUBERNETES_URL: {
    schema: url('http', 'https'),
    doc: "the cluster's API server: in a pod the one that is there, else for example `kubectl proxy`",
    default: 'https://kubernetes.default.svc',
  },
} as const satisfies Settings;
