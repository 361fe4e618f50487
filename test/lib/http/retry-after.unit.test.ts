import { RetryableError } from '#process/retry';

const secondsOf = (retryAfter: string | undefined) => RetryableError.fromAnswer(503, retryAfter).retryAfterSeconds;
const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1_000).toUTCString();

test('Retry-After in seconds is read, capped at a day', () => {
  const headers = ['30', '000030', '1000000', '9'.repeat(400)];
  expect(headers.map(secondsOf)).toEqual([30, 30, 86_400, 86_400]);
});

test('Retry-After as a date is read, capped at a day', () => {
  const seconds = secondsOf(inSeconds(120))!;
  expect(seconds).toBeGreaterThan(110);
  expect(seconds).toBeLessThanOrEqual(120);
  expect(secondsOf(inSeconds(1_000_000))).toBe(86_400);
});

test.each([undefined, '', '0', '-5', '1.5', 'soon', 'Sun, 06 Nov 1994 08:49:37 GMT'])(
  'an invalid or past Retry-After is ignored: %s',
  (header) => {
    expect(secondsOf(header)).toBeUndefined();
  },
);
