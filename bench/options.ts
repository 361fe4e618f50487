import { parseArgs } from 'node:util';

/** In the order in which they run. */
export const PARTS = ['write', 'relay', 'consume', 'path', 'peers'] as const;
export type Part = (typeof PARTS)[number];

export interface PartOptions {
  readonly rounds: number;
  /** Whether other products are measured as well. */
  readonly peers: boolean;
  /** Whether subscribers are called directly, without daprd. */
  readonly direct: boolean;
}

/** Reads the options of a part of the bench. */
export function partOptions(): PartOptions {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '1' },
      peers: { type: 'boolean', default: false },
      direct: { type: 'boolean', default: false },
    },
  });
  return { ...values, rounds: Number(values.rounds) };
}

export interface MainOptions {
  readonly full: boolean;
  readonly only: Part | undefined;
  readonly check: boolean;
  readonly resume: boolean;
  readonly rounds: number;
}

/** Reads the options of the whole bench. @throws TypeError for unknown options and parts */
export function mainOptions(args: string[]): MainOptions {
  const { values } = parseArgs({
    args,
    options: {
      full: { type: 'boolean', default: false },
      only: { type: 'string' },
      check: { type: 'boolean', default: false },
      resume: { type: 'boolean', default: false },
    },
  });
  const only = PARTS.find((part) => part === values.only);
  if (values.only !== undefined && !only) throw new TypeError(`--only takes one of: ${PARTS.join(', ')}`);
  return { ...values, only, rounds: values.full ? 3 : 1 };
}

/** Returns the arguments of a part. Each part can be run alone: `node bench/write.ts --rounds 1`. */
export function partArguments(part: Part, { full, rounds }: Pick<MainOptions, 'full' | 'rounds'>): string[] {
  return ['--rounds', `${rounds}`, ...(full && part === 'write' ? ['--peers'] : [])];
}
