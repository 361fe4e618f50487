import { type DatabaseFault, databaseFault } from '#eventing/database-faults';

const failed = (fields: object, message = 'failed') => Object.assign(new Error(message), fields);

describe.each<[DatabaseFault, string[]]>([
  ['outage', ['08000', '08001', '08003', '08004', '08006', '08007', '08P01']],
  ['outage', ['25006', '26000', '42P05']],
  ['outage', ['53000', '53100', '53200', '53300']],
  ['outage', ['57000', '57P01', '57P02', '57P03', '57P04', '57P05', '58000', '58030']],
  ['outage', ['ECONNREFUSED', 'ECONNRESET', 'ECONNABORTED', 'ENOTFOUND', 'EAI_AGAIN', 'EPIPE', 'ETIMEDOUT']],
  ['outage', ['EHOSTUNREACH', 'EHOSTDOWN', 'ENETUNREACH', 'ENETDOWN', 'EADDRNOTAVAIL', 'EMFILE', 'ENFILE']],
  ['momentary', ['25P03', '25P04', '40001', '40003', '40P01', '55006', '55P03', '57014']],
  ['input', ['21000', '22001', '22003', '22007', '22021', '22023', '22P02', '22P05', '23502', '23503', '23505']],
  ['input', ['23514', '23P01', '44000', '54000', '54001', '54011', '54023']],
  ['systemic', ['0A000', '28000', '28P01', '3D000', '3F000', '42501', '42601', '42703', '42704', '42883', '42P01']],
  ['systemic', ['53400', '55000', '55P02', '58P01', 'F0000', 'XX001', 'XX002', 'ERR_TLS_CERT_ALTNAME_INVALID']],
])('An error of the fault class %s', (fault, codes) => {
  test.each(codes)('has the code %s', (code) => expect(databaseFault(failed({ code }))).toBe(fault));
});

test.each<[DatabaseFault, string]>([
  ['outage', 'timeout exceeded when trying to connect'],
  ['outage', 'timeout expired'],
  ['outage', 'Connection terminated'],
  ['outage', 'Connection terminated unexpectedly'],
  ['outage', 'Connection terminated due to connection timeout'],
  ['outage', 'Client has encountered a connection error and is not queryable'],
  ['outage', 'Client was closed and is not queryable'],
  ['outage', 'Cannot use a pool after calling end on the pool'],
  ['momentary', 'Query read timeout'],
  ['systemic', 'The server does not support SSL connections'],
  ['systemic', 'SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string'],
])('%s by message: %s', (fault, message) => expect(databaseFault(new Error(message))).toBe(fault));

// As observed from PostgreSQL 18 and PgBouncer 1.18; only PostgreSQL names a routine.
test.each<[DatabaseFault, string, object, string]>([
  ['input', 'a text with U+0000', { code: '08P01', routine: 'pq_getmsgend' }, 'invalid message format'],
  ['outage', 'a pooler without its server', { code: '08P01' }, 'query_wait_timeout'],
  ['systemic', 'a pooler that accepts no settings', { code: '08P01' }, 'unsupported startup parameter: options'],
  ['outage', 'exhausted transaction ids', { code: '54000', routine: 'GetNewTransactionId' }, 'wraparound'],
])('the fault class is %s: %s', (fault, _, fields, message) =>
  expect(databaseFault(failed(fields, message))).toBe(fault),
);

test('the fault class is that of the outermost cause that has one', () => {
  const inner = new Error('driver', { cause: failed({ code: '55P03', cause: failed({ code: '57P01' }) }) });
  expect(databaseFault(new Error('use case', { cause: inner }))).toBe('momentary');
});

test.each([
  ['a bug', new TypeError('x is not a function')],
  ['a statement after a swallowed error', failed({ code: '25P02' })],
  ['an error raised by a trigger', failed({ code: 'P0001' })],
  ['an internal error', failed({ code: 'XX000' })],
  ['an unrelated system code', failed({ code: 'EPERM' })],
  ['an invalid value', failed({ code: 'invalid_type' })],
  ['not an error', '25006'],
])('an error has no fault class: %s', (_, error) => expect(databaseFault(error)).toBeUndefined());
