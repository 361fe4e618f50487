import { type AddressInfo, connect, createServer } from 'node:net';

/**
 * Stands before PostgreSQL as a pooler does, which has to read what comes with a connection before it can pass it on.
 * @param refused a setting that it does not know: PgBouncer refuses the connection then
 */
export async function passOn(url: string, refused?: string) {
  /** Names of what came with each connection. */
  const settings: string[][] = [];
  const { hostname, port } = new URL(url);
  const server = createServer((client) => {
    client.on('error', () => undefined);
    client.once('data', (startup) => {
      // Length and version of the protocol, then names and values, each with a zero behind it.
      const words = startup.subarray(8).toString().split('\0');
      const names = words.filter((word, i) => i % 2 === 0 && word !== '');
      settings.push(names);
      if (refused && names.includes(refused)) return client.end(refusal(`unsupported startup parameter: ${refused}`));
      const behind = connect(Number(port), hostname);
      behind.on('error', () => client.destroy()).on('close', () => client.destroy());
      client.on('close', () => behind.destroy());
      behind.write(startup);
      client.pipe(behind).pipe(client);
      return undefined;
    });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const own = { hostname: '127.0.0.1', port: String((server.address() as AddressInfo).port) };
  return {
    settings,
    url: Object.assign(new URL(url), own).href,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

function refusal(message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0C08P01\0M${message}\0\0`);
  const head = Buffer.alloc(5);
  head.write('E');
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}
