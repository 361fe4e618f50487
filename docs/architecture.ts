import { type Import, importsOf, layerOf, moduleOf } from './imports.ts';

const folders = ['services', 'ops', 'lib'];
/** Services that are split into layers. */
const layered = ['member', 'family-account'];

/** Returns docs/architecture.md: diagrams of the modules, drawn from their imports. */
export function architecture(): string {
  const imports = importsOf(...folders).filter(({ to }) => folders.some((folder) => to.startsWith(`${folder}/`)));
  // The programs of ops/ do not import each other.
  const boxOf = (path: string) => (path.startsWith('ops/') ? 'ops' : moduleOf(path));
  const pictures = layered.map((service) => {
    const inside = (path: string) => path.startsWith(`services/${service}/`);
    const own = imports.filter(({ from, to }) => inside(from) && inside(to));
    const nameOf = (path: string) => layerOf(path).split('/')[2] ?? 'main, api, settings, …';
    return `## ${service}\n\n${picture(own, nameOf)}`;
  });
  return `# Architecture

Drawn from the imports by \`npm run docs\`. \`test/architecture.unit.test.ts\` checks the import rules and that this page is up to date.
An arrow means "imports". A module can only be imported through the files listed in \`package.json#imports\`.
Events between services are not imports: [the README](../README.md#follow-one-event) follows one event.

## Modules

${picture(imports, boxOf)}

${pictures.join('\n\n')}
`;
}

function picture(imports: readonly Import[], nameOf: (path: string) => string): string {
  const arrows = imports
    .map(({ from, to, specifier }) => ({ from: nameOf(from), to: nameOf(to), specifier }))
    .filter(({ from, to }) => from !== to)
    // Between services the arrow names the public file: a contract is not the service.
    .map(({ from, to, specifier }) => `  ${node(from)} -->${label(to, specifier)} ${node(to)}`);
  return ['```mermaid', 'flowchart LR', ...[...new Set(arrows)].sort(), '```'].join('\n');
}

const label = (to: string, specifier: string): string => (to.startsWith('services/') ? `|${specifier}|` : '');

const node = (name: string): string => `${name.replaceAll(/\W/g, '_')}["${name}"]`;
