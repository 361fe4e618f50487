import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** One import statement: who imports what, both as paths from the project's folder; packages and Node's modules by their names. */
export interface Import {
  readonly from: string;
  readonly to: string;
  /** As it is written. */
  readonly specifier: string;
}

const root = join(import.meta.dirname, '..');
const doors = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { imports: Record<string, string> })
  .imports;

/** The TypeScript files below `folder`, as paths from the project's folder. */
export function sourceFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();
}

/** Every import of the files below `folders`. */
export function importsOf(...folders: string[]): Import[] {
  return folders.flatMap(sourceFiles).flatMap((from) => {
    const text = readFileSync(join(root, from), 'utf8');
    const specifiers = [...text.matchAll(/^(?:import|export)\b[^;'"]*?from '([^']+)'|\bimport\('([^']+)'\)/gms)];
    return specifiers.map(([, named, dynamic]) => {
      const specifier = (named ?? dynamic)!;
      return { from, to: resolve(from, specifier), specifier };
    });
  });
}

function resolve(from: string, specifier: string): string {
  if (specifier.startsWith('.')) return join(dirname(from), specifier);
  for (const [door, target] of Object.entries(doors)) {
    const [prefix = '', suffix] = door.split('*');
    if (suffix === undefined ? specifier === door : specifier.startsWith(prefix)) {
      return join(target.replace('*', specifier.slice(prefix.length)));
    }
  }
  return specifier;
}

/** The room that a file is in: a service's layer, or a library. */
export function roomOf(path: string): string {
  const [top = '', second = '', third = '', fourth] = path.split('/');
  if (top === 'lib') return `${top}/${second}`;
  if (top !== 'services') return top;
  return fourth === undefined ? `${top}/${second}` : `${top}/${second}/${third}`;
}
