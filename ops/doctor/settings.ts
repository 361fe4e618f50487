import { z } from 'zod';
import { common } from '#process/common-settings';
import { type Settings, url } from '#process/config';

/** Environment of the command that looks for problems with subscriptions. */
export const settings = {
  NAMESPACE: { schema: z.string().min(1), doc: 'namespace to examine' },
  API_URL: { schema: url('http', 'https'), doc: "operations URL of the system's API" },
  OPERATOR_TOKEN: common.OPERATOR_TOKEN,
  KUBERNETES_URL: {
    schema: url('http', 'https'),
    doc: "URL of the cluster's API server; outside the cluster for example that of `kubectl proxy`",
    default: 'https://kubernetes.default.svc',
  },
} as const satisfies Settings;
