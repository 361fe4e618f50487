import type { IncomingMessage } from 'node:http';
import { isIP, SocketAddress } from 'node:net';
import { DomainError } from '#process/errors';
import type { Log } from '#process/log';

/**
 * Creates a function that returns the caller's address: IPv4, or IPv6 in its canonical spelling, without port or zone.
 * @param trustProxy whether to use the last entry of X-Forwarded-For when the request has one; otherwise the peer of
 * the connection
 * @returns a function of the request. It throws DomainError 400 `unreadable-address` when the last entry is not an
 * address: with the proxy's address instead, all callers would share the limits of one. The first such request is
 * logged, without the entry
 */
export function callerAddress(trustProxy: boolean, log: Pick<Log, 'warn'>) {
  let warned = false;
  return ({ headers, socket }: Pick<IncomingMessage, 'headers' | 'socket'>): string => {
    const forwarded = trustProxy ? headers['x-forwarded-for'] : undefined;
    // A closed connection has no address; its response is never read.
    if (forwarded === undefined) return readAddress(socket.remoteAddress ?? '') ?? '';
    const address = readAddress(`${forwarded}`.split(',').at(-1)!);
    if (address !== undefined) return address;
    if (!warned) log.warn({}, `${UNREADABLE}, refusing requests. ${REMEDY}`);
    warned = true;
    throw new DomainError('unreadable-address', `${UNREADABLE}. ${REMEDY}`, 'invalid');
  };
}

const UNREADABLE = 'The last entry of X-Forwarded-For is not an IP address';
const REMEDY = 'Configure the proxy to write one, with or without a port, or turn TRUST_PROXY off';

/**
 * Parses an address as proxies write it, with or without port, brackets and quotes.
 * @returns undefined when it is not an address
 */
function readAddress(text: string): string | undefined {
  const host = text
    .trim()
    .replace(/^"(.*)"$/, '$1')
    .replace(/^\[(.*)\](:\d+)?$/, '$1')
    .replace(/^([\d.]+):\d+$/, '$1');

  const version = isIP(host);
  if (version !== 6) return version === 4 ? host : undefined;
  // Drops the zone, which names a network interface of the proxy.
  return new SocketAddress({ address: host, family: 'ipv6' }).address.replace(/^::ffff:(?=.*\.)/, '');
}
