import { Keyring } from '#eventing/keyring';
import { configTable, type Settings } from '#service/config';
import type { Route } from '#service/http';
import { settings as canary } from '../services/canary/settings.ts';
import { settings as databases } from '../services/databases/settings.ts';
import { settings as doctor } from '../services/doctor/settings.ts';
import { routes as familyAccountRoutes } from '../services/family-account/http/routes.ts';
import { settings as familyAccount } from '../services/family-account/settings.ts';
import { routes as memberRoutes } from '../services/member/http/routes.ts';
import {
  settings as member,
  restoreSettings as restore,
  workerSettings as worker,
} from '../services/member/settings.ts';
import { settings as relay } from '../services/relay/settings.ts';
import { settings as rewrap } from '../services/rewrap/settings.ts';
import { consumerSettings as consumers, settings as streams } from '../services/streams/settings.ts';

// Routes are only listed here, never called: their neighbours are not needed.
const nobody = new Proxy({}, { get: () => undefined }) as never;

/** README.md with its generated parts made anew: between `<!-- name -->` and `<!-- /name -->`. */
export function withTables(readme: string): string {
  return Object.entries(parts()).reduce((text, [name, part]) => {
    const [before, rest] = text.split(`<!-- ${name} -->`);
    const after = rest?.split(`<!-- /${name} -->`)[1];
    if (after === undefined) throw new Error(`README.md has no place for ${name}`);
    return `${before}<!-- ${name} -->\n${part}\n<!-- /${name} -->${after}`;
  }, readme);
}

function parts(): Record<string, string> {
  const keyring = new Keyring([Buffer.alloc(32)]);
  const environments: Record<string, Settings> = {
    member,
    'each worker': worker,
    'family-account': familyAccount,
    'each relay': relay,
    'the command that creates a database and its roles (`node services/databases/main.ts`)': databases,
    'the command that creates streams (`node services/streams/main.ts TOPIC...`)': streams,
    'the command that gives consumers at JetStream other settings (`node services/streams/consumers.ts TOPIC=APP,APP...`)':
      consumers,
    'the command that sends canaries (`node services/canary/main.ts SYSTEM...`)': canary,
    'the command that wraps all keys with the first master key (`node services/rewrap/main.ts`)': rewrap,
    'the command that puts a restored database right (`node services/member/restore.ts`, `node services/family-account/restore.ts`)':
      restore,
    'the command that looks for what keeps events from being heard (`node services/doctor/main.ts APP...`)': doctor,
  };
  return {
    endpoints: [
      '**member**',
      endpoints(memberRoutes({ provider: nobody, hashIdentity: nobody, limits: nobody, keyring })),
      '**family-account**',
      endpoints(familyAccountRoutes({ member: nobody, keyring })),
    ].join('\n\n'),
    configuration: Object.entries(environments)
      .map(([program, settings]) => `**${program}**\n\n${configTable(settings)}`)
      .join('\n\n'),
  };
}

function endpoints(routes: readonly Route[]): string {
  const rows = routes.map(({ method, path, summary, access }) => {
    return `| \`${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}\` | ${summary} | ${access.join(', ')} |`;
  });
  return ['| | | for |', '|---|---|---|', ...rows].join('\n');
}
