import { readFileSync } from 'node:fs';
import { ConfigError, readConfig } from '#process/config';
import { diagnose, print } from './report.ts';
import { settings } from './settings.ts';

/** Mount path of a pod's service account token. */
const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

// One-off command: `node ops/doctor/main.ts APP...`. Prints plain text. Exit codes: 0 no findings, 1 findings, 2
// failed.
try {
  const config = readConfig(settings);
  const apps = process.argv.slice(2);
  if (apps.length === 0) throw new ConfigError('Missing argument. Usage: node ops/doctor/main.ts APP...');
  const read = (name: string) => readFileSync(`${ACCOUNT}/${name}`, 'utf8');
  const isInPod = config.KUBERNETES_URL === settings.KUBERNETES_URL.default;
  const found = await diagnose({
    kubernetes: { url: config.KUBERNETES_URL, ...(isInPod && { token: read('token').trim(), ca: read('ca.crt') }) },
    namespace: config.NAMESPACE,
    apiUrl: config.API_URL,
    operatorToken: config.OPERATOR_TOKEN,
    apps,
  });
  process.stdout.write(`${print(found)}\n`);
  if (found.findings.length > 0) process.exitCode = 1;
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 2;
}
