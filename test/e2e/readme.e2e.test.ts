import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startStack } from '../support/stack.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');

/** The commands that the README's table tells people to type, in the order of the table. */
async function readmeCommands(): Promise<string[]> {
  const readme = await readFile(join(root, 'README.md'), 'utf8');
  const [table = ''] = readme.slice(readme.indexOf('| command |')).split('\n\n');
  return [...table.matchAll(/`(npm [^`]+)`/g)].map(([, command]) => command!);
}

/** Types it as it stands there, in a data folder of the test's own. */
async function type(command: string, dataDir: string): Promise<string> {
  const [npm = 'npm', ...words] = command.split(' ');
  const args = words.includes('--') ? [...words, '--data', dataDir] : [...words, '--', '--data', dataDir];
  const { stdout } = await run(npm, args, { cwd: root, timeout: 150_000 });
  return stdout;
}

test('the README’s commands do what it says', async () => {
  const commands = await readmeCommands();
  expect(commands).toEqual([
    'npm start -- --fresh',
    'npm start -- --once',
    'npm start -- --replicas 2',
    'npm run story',
    'npm run stack',
    'npm run stack -- kill member-relay',
    'npm test',
  ]);
  const dataDir = await mkdtemp(join(tmpdir(), 'member-system-readme-'));
  try {
    const once = await type('npm start -- --once', dataDir);
    expect(once).toContain('member.identity-verification-released');
    expect(once).toContain('handled by family-account');
    const freshAndOnce = await type('npm start -- --fresh --once --no-story', dataDir);
    expect(freshAndOnce).toContain('ready');
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}, 240_000);

test('two replicas of everything double nothing', async () => {
  await using stack = await startStack('--replicas', '2');
  const { processes } = await stack.running();
  expect(Object.keys(processes)).toEqual(
    expect.arrayContaining([
      'member-2',
      'member-2-daprd',
      'member-2-relay',
      'external-broadcaster-2',
      'family-account-2',
    ]),
  );
  expect((await stack.script('stack.ts')).output).toMatch(/member-relay/);
  const { invariants } = await import('./invariants.ts');
  const { playStory } = await import('../../local/story.ts');
  for (let round = 0; round < 3; round++) {
    const journeys = await playStory(await stack.running(), () => undefined);
    for (const { type, handledBy } of journeys) {
      const consumers = handledBy.map(({ consumer }) => consumer);
      expect({ type, twice: consumers.filter((name, index) => consumers.indexOf(name) !== index) }).toEqual({
        type,
        twice: [],
      });
    }
  }
  expect((await stack.script('stack.ts', 'kill', 'member-relay')).code).toBe(0);
  const again = await stack.script('story.ts');
  expect(again.code).toBe(0);
  expect(again.output).toContain('member.identity-verification-released');
  await invariants(await stack.running());
}, 300_000);
