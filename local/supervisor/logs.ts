import { open } from 'node:fs/promises';

/** Returns the last log line, at most 300 characters: the message of a JSON line, else the line itself. */
export async function lastLines(file: string): Promise<string> {
  const line = (await tail(file)).split('\n').findLast((it) => it.trim() !== '') ?? 'no output';
  return messageOf(line).slice(0, 300);
}

function messageOf(line: string): string {
  try {
    const { msg, err } = JSON.parse(line) as { msg?: string; err?: { message?: string } };
    return [msg, err?.message].filter(Boolean).join(': ');
  } catch {
    return line;
  }
}

/** Returns the end of a log without control characters, at most 4 KB; empty if the file cannot be read. */
export async function tail(file: string): Promise<string> {
  try {
    await using handle = await open(file);
    const { size } = await handle.stat();
    const length = Math.min(size, 4096);
    const { buffer } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: terminal escape sequences must be removed
    return buffer.toString().replaceAll(/\x1b\[[\d;]*m|[\x00-\x09\x0b-\x1f\x7f]/g, '');
  } catch {
    return '';
  }
}
