import { ConfigError, readConfig } from '#process/config';
import { sendCanary } from './send.ts';
import { settings } from './settings.ts';

// One-off command: `node ops/canary/main.ts SYSTEM...`. Prints plain text.
const print = (line: string) => void process.stdout.write(`${line}\n`);
try {
  const config = readConfig(settings);
  const systems = process.argv.slice(2);
  if (systems.length === 0) throw new ConfigError('Missing argument. Usage: node ops/canary/main.ts SYSTEM...');
  const options = {
    apiUrl: config.API_URL,
    operatorToken: config.OPERATOR_TOKEN,
    timeoutMs: config.TIMEOUT_SECONDS * 1000,
    tell: print,
  };
  for (const system of systems) await sendCanary(system, options);
  print(`All hops of ${systems.join(' and ')} passed.`);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
