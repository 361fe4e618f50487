import { z } from 'zod';
import { renamedVariables } from './renamed.ts';

/** One environment variable. */
export interface Setting<T> {
  readonly schema: z.ZodType<T, string>;
  /** Its purpose, as a clause. Printed in errors and in docs/configuration.md. */
  readonly doc: string;
  /** Written as in the environment. A setting without a default is required. */
  readonly default?: string;
  /** Secret values are never printed. */
  readonly secret?: boolean;
}

// biome-ignore lint/suspicious/noExplicitAny: each setting has its own type
export type Settings = Record<string, Setting<any>>;
export type Config<S extends Settings> = { readonly [K in keyof S]: z.output<S[K]['schema']> };

/** The environment does not match the declared settings. The message names every bad variable and its purpose. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/**
 * Reads the declared settings from the environment. An empty variable counts as not set.
 * @throws ConfigError naming all missing, wrong or renamed variables together, without the values of secrets
 */
export function readConfig<S extends Settings>(settings: S, env: NodeJS.ProcessEnv = process.env): Config<S> {
  const problems = Object.entries(renamedVariables)
    .filter(([old, name]) => env[old] && name in settings)
    .map(([old, name]) => `${old} has been renamed: set ${name} instead`);
  const values: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(settings)) {
    const text = env[name] || setting.default;
    const result = text === undefined ? undefined : setting.schema.safeParse(text);
    if (result?.success) values[name] = result.data;
    else problems.push(describe(name, setting, text, result?.error));
  }
  if (problems.length > 0) throw new ConfigError(report(problems));
  return values as Config<S>;
}

function describe(
  name: string,
  { doc, secret }: Setting<unknown>,
  text: string | undefined,
  error?: z.ZodError,
): string {
  if (text === undefined) return `${name} is not set: ${doc}`;
  const shown = secret ? '' : ` ${JSON.stringify(text.slice(0, 100))}`;
  return `${name}${shown} is wrong (${error?.issues.map(({ message }) => message).join('; ')}): ${doc}`;
}

function report(problems: string[]): string {
  const count = problems.length === 1 ? '1 setting is' : `${problems.length} settings are`;
  return [`${count} missing or wrong. Set in the environment:`, ...problems.map((problem) => `  ${problem}`)].join(
    '\n',
  );
}

/** Renders the settings as a Markdown table. */
export function configTable(settings: Settings): string {
  const rows = Object.entries(settings).map(([name, { doc, default: value, secret }]) => {
    const shown = value === undefined ? 'required' : value === '' ? 'empty' : `\`${value}\``;
    return `| \`${name}\` | ${shown} | ${(secret ? `${doc} (secret)` : doc).replaceAll('|', '\\|')} |`;
  });
  return ['| variable | default | description |', '|---|---|---|', ...rows, ''].join('\n');
}

/** A whole number in decimal digits, within inclusive limits. */
export function integer({ min, max }: { min: number; max: number }): z.ZodType<number, string> {
  return z
    .string()
    .regex(/^\d{1,15}$/, 'not a whole number')
    .transform(Number)
    .pipe(z.number().min(min, `less than ${min}`).max(max, `more than ${max}`));
}

/** An absolute URL with one of these schemes, such as `https`. */
export function url(...schemes: string[]): z.ZodType<string, string> {
  return z.string().refine((value) => isUrl(value, schemes), `not a URL that begins with ${listOf(schemes)}`);
}

/** One or more such URLs, separated by commas. */
export function urls(...schemes: string[]): z.ZodType<string, string> {
  return z
    .string()
    .refine(
      (value) => value.split(',').every((each) => isUrl(each, schemes)),
      `not URLs that each begin with ${listOf(schemes)}, separated by commas`,
    );
}

const isUrl = (value: string, schemes: readonly string[]): boolean =>
  schemes.includes(URL.parse(value)?.protocol.slice(0, -1) ?? '');
const listOf = (schemes: readonly string[]): string => schemes.map((scheme) => `${scheme}://`).join(' or ');

/** `true` or `false`. */
export const flag: z.ZodType<boolean, string> = z.enum(['true', 'false']).transform((value) => value === 'true');

/** A credential for an HTTP header: long enough to resist guessing, and only characters that a header can carry. */
export const token: z.ZodType<string, string> = z
  .string()
  .regex(/^[\w.~+/=-]*$/, 'contains characters other than letters, digits and ._~+/=-')
  .min(16, 'shorter than 16 characters');
