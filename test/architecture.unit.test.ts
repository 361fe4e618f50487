import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { architecture } from '../docs/architecture.ts';
import { type Import, importsOf, moduleOf, sourceFiles } from '../docs/imports.ts';

const root = join(import.meta.dirname, '..');
const everything = ['services', 'ops', 'lib', 'local', 'docs', 'bench', 'k8s'];
const isRelative = ({ specifier }: Import) => specifier.startsWith('.');
const shown = (imports: Import[]) => imports.map(({ from, specifier }) => `${from} imports ${specifier}`);

test('every import of the project’s own files resolves', () => {
  const ownImports = importsOf(...everything).filter(({ specifier }) => /^[.#]/.test(specifier));
  expect(ownImports.length).toBeGreaterThan(100);
  expect(shown(ownImports.filter(({ to }) => !existsSync(join(root, to))))).toEqual([]);
});

test('relative imports never leave a module', () => {
  const modules = importsOf('services', 'ops', 'lib').filter(isRelative);
  expect(shown(modules.filter(({ from, to }) => moduleOf(from) !== moduleOf(to)))).toEqual([]);
  // Code outside the modules also imports libraries only by their public files.
  const others = importsOf('local', 'docs', 'bench', 'k8s').filter(isRelative);
  expect(shown(others.filter(({ to }) => to.startsWith('lib/')))).toEqual([]);
});

test('package.json lists no unused public file', () => {
  const used = new Set(importsOf(...everything).map(({ specifier }) => specifier));
  const { imports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  expect(Object.keys(imports).filter((it) => !used.has(it))).toEqual([]);
});

test('#member is imported by its workers only, its contract by other systems only', () => {
  const allowed: Record<string, string[]> = { '#member': ['workers'], '#member/contract': ['family-account'] };
  for (const [name, users] of Object.entries(allowed)) {
    const others = importsOf('services').filter(
      ({ from, specifier }) => specifier === name && !users.includes(from.split('/')[1]!),
    );
    expect(shown(others)).toEqual([]);
  }
});

test('libraries import no service, and only lower libraries', () => {
  const lib = importsOf('lib');
  expect(shown(lib.filter(({ to }) => /^(services|ops|local)\//.test(to)))).toEqual([]);
  const below: Record<string, string[]> = {
    'lib/eventing': [],
    'lib/process': ['lib/eventing'],
    'lib/http': ['lib/eventing', 'lib/process'],
    'lib/eventing-host': ['lib/eventing', 'lib/process', 'lib/http'],
  };
  const upwards = lib.filter(({ from, to }) => {
    const [mine, theirs] = [moduleOf(from), moduleOf(to)];
    return theirs.startsWith('lib/') && mine !== theirs && !below[mine]!.includes(theirs);
  });
  expect(shown(upwards)).toEqual([]);
});

test('the steps of lib/eventing form no import circle', () => {
  const stepOf = (path: string) => path.split('/').slice(2, -1).join('/');
  const arrows = importsOf('lib/eventing').flatMap(({ from, to }) => {
    const [mine, theirs] = [stepOf(from), stepOf(to)];
    return to.startsWith('lib/eventing/') && mine && theirs && mine !== theirs ? [[mine, theirs] as const] : [];
  });
  expect(arrows.length).toBeGreaterThan(5);
  const reach = (step: string, seen: readonly string[] = []): string[] =>
    arrows.flatMap(([from, to]) => (from !== step || seen.includes(to) ? [] : [to, ...reach(to, [...seen, to])]));
  const steps = [...new Set(arrows.flat())];
  expect(steps.filter((step) => reach(step).includes(step))).toEqual([]);
});

test('the relay and eventing contain no business terms', () => {
  expect(shown(importsOf('services/relay').filter(({ to }) => /^services\/(?!relay\/)/.test(to)))).toEqual([]);
  const offenders = [...sourceFiles('services/relay'), ...sourceFiles('lib/eventing')].filter((file) =>
    /\b(member|login|invitation|famil(y|ies))s?\b/i.test(code(file)),
  );
  expect(offenders).toEqual([]);
});

describe.each(['member', 'family-account'])('Imports in %s point one way, http -> use-cases -> domain:', (service) => {
  const layer = (name: string) => `services/${service}/${name}/`;
  test('the domain imports only its own files, its events, and event and error types', () => {
    const mine = [
      layer('domain'),
      `services/${service}/events.ts`,
      'lib/eventing/store/domain-event.ts',
      'lib/process/errors.ts',
    ];
    const beyond = importsOf(`services/${service}/domain`).filter(
      ({ to }) => /^(services|lib|local)\//.test(to) && !mine.some((place) => to.startsWith(place)),
    );
    expect(shown(beyond)).toEqual([]);
  });
  test('use cases import nothing of HTTP', () => {
    const beyond = importsOf(`services/${service}/use-cases`).filter(
      ({ to, specifier }) =>
        to.startsWith(layer('http')) || /^(koa|@koa\/|node:http|#http\/(?!idempotency-table))/.test(specifier),
    );
    expect(shown(beyond)).toEqual([]);
  });
});

test('member, its workers and their charts never mention families', () => {
  const folders = ['services/member', 'services/workers', 'charts/member', 'charts/workers'].filter((it) =>
    existsSync(join(root, it)),
  );
  const files = folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name)),
  );
  expect(files.length).toBeGreaterThan(20);
  expect(
    files.filter((file) => /famil(y|ies)|가족/i.test(file.replace(root, '') + readFileSync(file, 'utf8'))),
  ).toEqual([]);
});

test('every event type is named in the past tense', async () => {
  const irregular = /^(withdrawn|left|begun|sent|taken|given|lost|found|chosen)$/;
  for (const service of ['member', 'family-account']) {
    const { events } = (await import(`../services/${service}/events.ts`)) as {
      events: Record<string, { type: string }>;
    };
    const types = Object.values(events).map(({ type }) => type);
    expect(types.length).toBeGreaterThan(4);
    for (const type of types) {
      expect(type).toMatch(new RegExp(`^${service}\\.[a-z-]+$`));
      const words = type.split('.')[1]!.split('-');
      expect([type, words.some((word) => /ed$/.test(word) || irregular.test(word))]).toEqual([type, true]);
    }
  }
});

test('docs/architecture.md matches the current imports', () => {
  expect(readFileSync(join(root, 'docs/architecture.md'), 'utf8')).toBe(architecture());
});

/** Returns the code of a file without its comments. */
function code(file: string): string {
  return readFileSync(join(root, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
}
