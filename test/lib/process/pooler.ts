import { type AddressInfo, connect, createServer } from 'node:net';

/**
 * Starts a proxy to PostgreSQL that behaves like a pooler: it reads the startup message of a connection before it
 * forwards it, and reports process ids of its own to clients. Each client still has its own session.
 */
export async function startPooler(url: string) {
  /** Parameter names in the startup message of each connection. */
  const settings: string[][] = [];
  const { hostname, port } = new URL(url);
  const server = createServer((client) => {
    client.on('error', () => undefined);
    client.once('data', (startup) => {
      // Length and protocol version, then names and values, each terminated by a zero byte.
      const fields = startup.subarray(8).toString().split('\0');
      const names = fields.filter((field, i) => i % 2 === 0 && field !== '');
      settings.push(names);
      const upstream = connect(Number(port), hostname);
      upstream.on('error', () => client.destroy()).on('close', () => client.destroy());
      client.on('close', () => upstream.destroy());
      upstream.write(startup);
      client.pipe(upstream);
      upstream.on('data', (data) => client.write(withOtherProcessId(data))).on('end', () => client.end());
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

/** Changes the process id in BackendKeyData, a message of 12 bytes with the process id and a secret. */
function withOtherProcessId(data: Buffer): Buffer {
  const at = data.indexOf(Buffer.from([...Buffer.from('K'), 0, 0, 0, 12]));
  if (at >= 0 && data.length >= at + 13) data.writeInt32BE(data.readInt32BE(at + 5) + 1, at + 5);
  return data;
}
