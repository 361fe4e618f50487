import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { layers, Supervisor } from '../../../local/supervisor/supervisor.ts';
import { temporaryFolder } from '../../support/folder.ts';

async function supervise() {
  const folder = await temporaryFolder();
  const supervisor = new Supervisor({
    logDir: join(folder.path, 'logs'),
    print: () => undefined,
    changed: () => undefined,
  });
  const endOrder = join(folder.path, 'ends');
  appendFileSync(endOrder, '');
  return {
    supervisor,
    endOrder: () => readFileSync(endOrder, 'utf8').trim().split('\n'),
    spec(name: string) {
      const readyFile = join(folder.path, name);
      const code = `const fs = require('node:fs'); setInterval(() => {}, 1000);
        process.once('SIGTERM', () => { fs.appendFileSync(${JSON.stringify(endOrder)}, '${name}\\n'); process.exit(); });
        fs.writeFileSync(${JSON.stringify(readyFile)}, '')`;
      const command = [process.execPath, '-e', code];
      return { name, command, ports: {}, summary: 'works', isReady: async () => existsSync(readyFile) };
    },
    async [Symbol.asyncDispose]() {
      supervisor.kill();
      await supervisor.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}

test('apps end first, then sidecars, then the broker, and the database last', async () => {
  await using it = await supervise();
  const startedInReverse = [...layers].reverse();
  await Promise.all(startedInReverse.map((layer) => it.supervisor.start(layer, it.spec(`a-${layer}`))));
  expect(Object.values(it.supervisor.describe()).map(({ state }) => state)).toEqual(Array(4).fill('running'));
  await it.supervisor.stop();
  expect(it.endOrder()).toEqual(['a-apps', 'a-sidecars', 'a-broker', 'a-database']);
});

test('no process is started once the shutdown has begun', async () => {
  await using it = await supervise();
  await it.supervisor.stop();
  await expect(it.supervisor.start('apps', it.spec('late'))).rejects.toThrow(
    'late is not started: the supervisor is stopping',
  );
  expect(it.supervisor.describe()).toEqual({});
});
