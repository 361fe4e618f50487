import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** One import statement: importing and imported file, relative to the project; packages and Node's modules by name. */
export interface Import {
  readonly from: string;
  readonly to: string;
  /** As written in the source. */
  readonly specifier: string;
}

const root = join(import.meta.dirname, '..');
const publicFiles = (
  JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { imports: Record<string, string> }
).imports;

/** Returns the TypeScript files below `folder`, relative to the project. */
export function sourceFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();
}

/** Returns every import of the files below `folders`. */
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
  return specifier in publicFiles ? join(publicFiles[specifier]!) : specifier;
}

/** Returns the module of a file: a service, a program of ops/ or a library; otherwise the top-level folder. */
export function moduleOf(path: string): string {
  const [top = '', second = ''] = path.split('/');
  return ['services', 'ops', 'lib'].includes(top) ? `${top}/${second}` : top;
}

/** Returns the module of a file, with the layers of services as separate modules. */
export function layerOf(path: string): string {
  const [top, , third = '', fourth] = path.split('/');
  return top === 'services' && fourth !== undefined ? `${moduleOf(path)}/${third}` : moduleOf(path);
}
