import { createLog, describeError } from '#process/log';

function written(fields: object): Record<string, unknown> {
  const lines: string[] = [];
  const log = createLog('program', 'info', { write: (line: string) => lines.push(line) });
  log.info(fields, 'message');
  return JSON.parse(lines[0]!);
}

test('secrets and personal data in the fields of a log line are not written', () => {
  const secrets = {
    password: 'x1',
    token: 'x2',
    email: 'x3',
    authorization: 'x4',
    'dapr-api-token': 'x5',
    phoneNumber: 'x6',
  };
  expect(JSON.stringify(written({ ...secrets, headers: secrets }))).not.toMatch(/x\d/);
  expect(written({ route: '/v1/members', name: 'program' })).toMatchObject({ route: '/v1/members', msg: 'message' });
});

test('an error is written with its causes, stack and code', () => {
  const cause = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  const { err } = written({ err: new Error('no database', { cause }) });
  expect(err).toMatchObject({
    type: 'Error',
    message: 'no database',
    stack: expect.stringContaining('log.unit.test.ts'),
    cause: { message: 'connect ECONNREFUSED', code: 'ECONNREFUSED' },
  });
});

test.each([
  ['23505', 'duplicate key value\n - detail: Key (email)=(kim@example.com) already exists'],
  ['22P02', 'invalid input syntax for type uuid: "kim@example.com"'],
  ['40P01', 'deadlock detected\n - detail: insert kim@example.com'],
])('a database error with the code %s is written without the values it quotes', (code, message) => {
  const error = Object.assign(new Error(message), {
    name: 'DriverException',
    code,
    constraint: 'member_email',
    detail: 'kim@example.com',
  });
  expect(describeError(error)).toMatchObject({ type: 'DriverException', code, constraint: 'member_email' });
  expect(JSON.stringify(describeError(error))).not.toContain('kim@');
});

test('a parser’s error is written without the text that it failed to parse', () => {
  const answer = 'Anna Kim, 01012345678';
  const parse = () => JSON.parse(answer);
  expect(parse).toThrow('Anna Kim');
  const error = (() => {
    try {
      return parse();
    } catch (thrown) {
      return new Error('not read', { cause: thrown });
    }
  })();
  expect(describeError(error)).toMatchObject({ message: 'not read', cause: { type: 'SyntaxError' } });
  expect(JSON.stringify(describeError(error))).not.toMatch(/Anna|0101/);
});

test('a thrown value that is not an Error is not written', () => {
  expect(describeError('kim@example.com')).toEqual({ type: 'string' });
});
