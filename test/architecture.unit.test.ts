import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { architecture } from '../docs/architecture.ts';
import { type Import, importsOf, sourceFiles } from '../docs/imports.ts';

const root = join(import.meta.dirname, '..');
const services = readdirSync(join(root, 'services'));
const isRelative = ({ specifier }: Import) => specifier.startsWith('.');
const shown = (imports: Import[]) => imports.map(({ from, specifier }) => `${from} imports ${specifier}`);

test('every import of ours names a file that exists', () => {
  const ours = importsOf('services', 'lib', 'local', 'docs').filter(({ specifier }) => /^[.#]/.test(specifier));
  expect(ours.length).toBeGreaterThan(100);
  expect(shown(ours.filter(({ to }) => !existsSync(join(root, to))))).toEqual([]);
});

test('relative imports never leave a service', () => {
  const leaving = services.flatMap((service) =>
    importsOf(`services/${service}`).filter((it) => isRelative(it) && !it.to.startsWith(`services/${service}/`)),
  );
  expect(shown(leaving)).toEqual([]);
});

test('member’s door is open to its workers only, its contract to other systems only', () => {
  const allowed: Record<string, string[]> = { '#member': ['workers'], '#member/contract': ['family-account'] };
  for (const [door, guests] of Object.entries(allowed)) {
    const others = importsOf('services').filter(
      ({ from, specifier }) => specifier === door && !guests.includes(from.split('/')[1]!),
    );
    expect(shown(others)).toEqual([]);
  }
});

test('the libraries know no service, and eventing not even the other library', () => {
  expect(shown(importsOf('lib').filter(({ to }) => to.startsWith('services/') || to.startsWith('local/')))).toEqual([]);
  expect(shown(importsOf('lib/eventing').filter(({ to }) => to.startsWith('lib/service/')))).toEqual([]);
});

test('the relay and eventing know no business', () => {
  expect(shown(importsOf('services/relay').filter(({ to }) => /^services\/(?!relay\/)/.test(to)))).toEqual([]);
  const words = [...sourceFiles('services/relay'), ...sourceFiles('lib/eventing')].filter((file) =>
    /\b(member|login|invitation|famil(y|ies))s?\b/i.test(code(file)),
  );
  expect(words).toEqual([]);
});

describe.each(['member', 'family-account'])('In %s imports point one way, http -> use-cases -> domain', (service) => {
  const layer = (name: string) => `services/${service}/${name}/`;
  test('the domain sees its own files, its events, and what facts and refusals are', () => {
    const mine = [
      layer('domain'),
      `services/${service}/events.ts`,
      'lib/eventing/domain-event.ts',
      'lib/service/errors.ts',
    ];
    const beyond = importsOf(`services/${service}/domain`).filter(
      ({ to }) => /^(services|lib|local)\//.test(to) && !mine.some((place) => to.startsWith(place)),
    );
    expect(shown(beyond)).toEqual([]);
  });
  test('use cases know nothing of http', () => {
    const beyond = importsOf(`services/${service}/use-cases`).filter(
      ({ to, specifier }) =>
        to.startsWith(layer('http')) || /^(koa|@koa\/|node:http|#service\/(http|route))/.test(specifier),
    );
    expect(shown(beyond)).toEqual([]);
  });
});

test('nothing in member, its workers or their charts mentions families', () => {
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

test('every event is named as a fact, in the past tense', async () => {
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

test('docs/architecture.md is drawn from today’s imports', () => {
  expect(readFileSync(join(root, 'docs/architecture.md'), 'utf8')).toBe(architecture());
});

/** A file without its comments. */
function code(file: string): string {
  return readFileSync(join(root, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
}
