import { open } from 'node:fs/promises';

/** The last line that is not empty, without what makes it unreadable on a terminal; at most 300 characters. */
export async function lastLine(file: string): Promise<string> {
  return (
    (await tail(file))
      .split('\n')
      .findLast((line) => line.trim() !== '')
      ?.slice(0, 300) ?? 'it has printed nothing'
  );
}

/** The end of a log, at most 4 KB; empty when there is none. */
export async function tail(file: string): Promise<string> {
  try {
    await using handle = await open(file);
    const { size } = await handle.stat();
    const length = Math.min(size, 4096);
    const { buffer } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours, and worse, are exactly what must go
    return buffer.toString().replaceAll(/\x1b\[[\d;]*m|[\x00-\x09\x0b-\x1f\x7f]/g, '');
  } catch {
    return '';
  }
}
