import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { callerAddress } from '../../../lib/http/caller-address.ts';
import { PET, startApi } from './api.ts';

const warnings: string[] = [];
const log = { warn: (_: object, message: string) => void warnings.push(message) } as never;
const request = (forwarded: string | undefined, remoteAddress: string | undefined = '10.0.0.1') =>
  ({ headers: { 'x-forwarded-for': forwarded }, socket: { remoteAddress } }) as unknown as IncomingMessage;

test.each([
  ['203.0.113.66', '203.0.113.66'],
  ['203.0.113.66:4000', '203.0.113.66'],
  ['"203.0.113.66:4000"', '203.0.113.66'],
  [' 203.0.113.66 ', '203.0.113.66'],
  ['::ffff:203.0.113.66', '203.0.113.66'],
  ['::FFFF:203.0.113.66', '203.0.113.66'],
  ['[::ffff:203.0.113.66]:4000', '203.0.113.66'],
  ['0:0:0:0:0:ffff:cb00:7142', '203.0.113.66'],
  ['2001:db8::7', '2001:db8::7'],
  ['2001:DB8::7', '2001:db8::7'],
  ['2001:0db8:0000:0000:0000:0000:0000:0007', '2001:db8::7'],
  ['[2001:db8::7]', '2001:db8::7'],
  ['[2001:db8::7]:4000', '2001:db8::7'],
  ['"[2001:db8::7]:4000"', '2001:db8::7'],
  ['fe80::1%eth0', 'fe80::1'],
  ['[fe80::1%25eth0]:4000', 'fe80::1'],
  ['::1.2.3.4', '::1.2.3.4'],
  ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
  ['192.0.2.1, 203.0.113.66:4000', '203.0.113.66'],
  ['unknown,[2001:db8::7]:1', '2001:db8::7'],
])('a forwarded address is normalised, without its port: %s', (forwarded, address) => {
  expect(callerAddress(true, log)(request(forwarded))).toBe(address);
});

test.each([
  '',
  ' ',
  'unknown',
  '_hidden',
  '203.0.113.66,',
  '203.0.113',
  '203.0.113.066',
  '203.0.113.256:1',
  '203.0.113.66:',
  '203.0.113.66:http',
  '203.0.113.66 4000',
  '3405803842',
  '0xcb007142',
  'localhost:80',
  '[2001:db8::7',
  '[2001:db8::7]4000',
  '2001:db8::7::1',
  '""',
  'for=203.0.113.66',
])('an invalid forwarded address is refused, not replaced by the proxy’s: %j', (forwarded) => {
  expect(() => callerAddress(true, log)(request(forwarded))).toThrow(
    expect.objectContaining({ slug: 'unreadable-address', kind: 'invalid' }),
  );
});

test('an invalid forwarded address is logged once, without its value', () => {
  warnings.length = 0;
  const addressOf = callerAddress(true, log);
  for (let i = 0; i < 3; i++) expect(() => addressOf(request('secret'))).toThrow();
  expect(warnings).toEqual([expect.stringContaining('X-Forwarded-For')]);
  expect(warnings[0]).not.toContain('secret');
});

test('the peer’s address is used without a trusted proxy or without the header', () => {
  expect(callerAddress(false, log)(request('203.0.113.66', '::ffff:192.0.2.1'))).toBe('192.0.2.1');
  expect(callerAddress(false, log)(request('unknown', 'fe80::1%eth0'))).toBe('fe80::1');
  expect(callerAddress(true, log)(request(undefined, '192.0.2.1'))).toBe('192.0.2.1');
});

test('a forwarded address is read after any number of other headers', async () => {
  await using api = await startApi({}, { trustProxy: true });
  const socket = connect(api.port, '127.0.0.1');
  await once(socket, 'connect');
  const many = Array.from({ length: 2_500 }, (_, i) => `${i.toString(36)}:`).join('\r\n');
  socket.end(
    `POST ${PET}/naps HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${many}\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 203.0.113.66:4000\r\n\r\n`,
  );
  expect(await text(socket)).toContain('"ip":"203.0.113.66"');
});
