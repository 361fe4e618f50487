import { readFileSync } from 'node:fs';
import { ConfigError, readConfig } from '#service/config';
import { diagnose, print } from './report.ts';
import { settings } from './settings.ts';

/** Where each pod that may ask the API server finds what it needs for it. */
const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

// A command that ends when it is done: `node services/doctor/main.ts APP...`; its output is for people.
try {
  const config = readConfig(settings);
  const apps = process.argv.slice(2);
  if (apps.length === 0) throw new ConfigError('Name the apps: node services/doctor/main.ts APP...');
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
