import { brokerSecrets, secretManifest } from './secrets.ts';

// `npm run broker:users --silent -- HOST:PORT | kubectl create -f -`: prints Secrets for your own broker.
// Without an address: prints the `accounts` block for nats-server's configuration.
const [address] = process.argv.slice(2);
const secrets = brokerSecrets(address ?? 'nats:4222');
const items = Object.entries(secrets).map(([name, stringData]) => secretManifest(name, stringData));
const list = { apiVersion: 'v1', kind: 'List', items };
process.stdout.write(address ? `${JSON.stringify(list, null, 2)}\n` : secrets['nats-users']!['users.conf']!);
