import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

const root = join(import.meta.dirname, '../..');
const folder = join(root, '.github/workflows');
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object };
const readme = readFileSync(join(root, 'README.md'), 'utf8');

interface Workflow {
  readonly permissions: unknown;
  readonly jobs: Record<string, { readonly 'timeout-minutes'?: number; readonly steps: { readonly run?: string }[] }>;
}

const workflows = readdirSync(folder).map((file) => {
  return { file, workflow: parse(readFileSync(join(folder, file), 'utf8')) as Workflow };
});
const commands = workflows.flatMap(({ workflow }) =>
  Object.values(workflow.jobs).flatMap(({ steps }) => steps.flatMap(({ run = '' }) => run.split('\n'))),
);

test('every npm script that a workflow runs exists', () => {
  const used = commands.flatMap((line) => [...line.matchAll(/\bnpm run (?:-s )?([\w:-]+)/g)].map(([, name]) => name!));
  expect(used.length).toBeGreaterThan(4);
  expect(used.filter((name) => !(name in scripts))).toEqual([]);
});

test('CI runs the commands of the README', () => {
  for (const command of ['npm start', 'npm test']) {
    expect(readme).toContain(command);
    expect(commands.filter((line) => line.startsWith(command))).not.toEqual([]);
  }
});

test.each(workflows)('$file may only read, and each of its jobs ends in time', ({ workflow }) => {
  expect(workflow.permissions).toEqual({ contents: 'read' });
  for (const job of Object.values(workflow.jobs)) expect(job['timeout-minutes']).toBeLessThanOrEqual(90);
});
