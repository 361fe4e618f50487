import { ConfigError, readConfig } from '#service/config';
import { sendCanary } from './send.ts';
import { settings } from './settings.ts';

// A command that ends when it is done: `node services/canary/main.ts SYSTEM...`; its output is for people.
const tell = (line: string) => void process.stdout.write(`${line}\n`);
try {
  const config = readConfig(settings);
  const systems = process.argv.slice(2);
  if (systems.length === 0) throw new ConfigError('Name the systems: node services/canary/main.ts SYSTEM...');
  const options = {
    apiUrl: config.API_URL,
    operatorToken: config.OPERATOR_TOKEN,
    timeoutMs: config.TIMEOUT_SECONDS * 1000,
    tell,
  };
  for (const system of systems) await sendCanary(system, options);
  tell(`All hops of ${systems.join(' and ')} are well.`);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
