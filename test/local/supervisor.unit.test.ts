import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { layers, Supervisor } from '../../local/supervisor.ts';
import { temporaryFolder } from './folder.ts';

async function supervise() {
  const folder = await temporaryFolder();
  const supervisor = new Supervisor({
    logDir: join(folder.path, 'logs'),
    say: () => undefined,
    changed: () => undefined,
  });
  const ends = join(folder.path, 'ends');
  appendFileSync(ends, '');
  return {
    supervisor,
    ends: () => readFileSync(ends, 'utf8').trim().split('\n'),
    spec(name: string) {
      const sign = join(folder.path, name);
      const code = `const fs = require('node:fs'); setInterval(() => {}, 1000);
        process.once('SIGTERM', () => { fs.appendFileSync(${JSON.stringify(ends)}, '${name}\\n'); process.exit(); });
        fs.writeFileSync(${JSON.stringify(sign)}, '')`;
      const command = [process.execPath, '-e', code];
      return { name, command, ports: {}, says: 'works', isReady: async () => existsSync(sign) };
    },
    async [Symbol.asyncDispose]() {
      supervisor.kill();
      await supervisor.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

test('apps end before their sidecars, these before the broker, and the database last', async () => {
  await using it = await supervise();
  const startedInReverse = [...layers].reverse();
  await Promise.all(startedInReverse.map((layer) => it.supervisor.start(layer, it.spec(`a-${layer}`))));
  expect(Object.values(it.supervisor.describe()).map(({ state }) => state)).toEqual(Array(4).fill('running'));
  await it.supervisor.stop();
  expect(it.ends()).toEqual(['a-apps', 'a-sidecars', 'a-broker', 'a-database']);
});

test('nothing is started any more once the end has begun', async () => {
  await using it = await supervise();
  await it.supervisor.stop();
  await expect(it.supervisor.start('apps', it.spec('late'))).rejects.toThrow('late is not started any more');
  expect(it.supervisor.describe()).toEqual({});
});
