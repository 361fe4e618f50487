// Runs in a pod: members register, call both APIs and log out until SIGTERM or the end of the time. Then prints the
// outcome as one line of JSON.
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';

// Clients pause between rounds; without a pause, a small node would have no time to start the replaced pods.
const PAUSE_MS = 500;

const [member, families] = ['http://member', 'http://family-account'];
const until = Date.now() + Number(process.env.SECONDS) * 1000;
const failures = {};
let [isRunning, requests, rounds, slowest] = [true, 0, 0, 0];
process.on('SIGTERM', () => {
  isRunning = false;
});

async function call(method, url, body, token) {
  requests += 1;
  const began = Date.now();
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
  if (process.env.CONNECTIONS === 'closed') headers.connection = 'close';
  const answer = await fetch(url, {
    method,
    headers,
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  });
  const text = await answer.text();
  slowest = Math.max(slowest, Date.now() - began);
  if (!answer.ok)
    throw new Error(`${method} ${url.replace(/[0-9a-f-]{36}/, '…')} ${answer.status} ${text.slice(0, 200)}`);
  return text && JSON.parse(text);
}

async function round() {
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
  const { id } = await call('POST', `${member}/v1/members`, { ...person, name: 'Anna' });
  const device = { id: randomUUID(), name: 'phone', os: 'any' };
  const { token } = await call('POST', `${member}/v1/sessions`, { ...person, device });
  await call('GET', `${member}/v1/members/${id}`, undefined, token);
  const verification = { identityVerificationId: `ok-${randomUUID()}` };
  await call('PUT', `${member}/v1/members/${id}/identity-verification`, verification, token);
  const account = await call('POST', `${families}/v1/family-accounts`, { name: 'Home' }, token);
  await call('DELETE', `${families}/v1/family-accounts/${account.id}/members/${id}`, undefined, token);
  await call('DELETE', `${member}/v1/sessions/current`, undefined, token);
}

await Promise.all(
  Array.from({ length: Number(process.env.CLIENTS) }, async () => {
    while (isRunning && Date.now() < until) {
      await round().then(
        () => {
          rounds += 1;
        },
        (error) => {
          const what = `${error.message} ${error.cause?.code ?? error.cause?.message ?? ''}`.trim();
          failures[what] = (failures[what] ?? 0) + 1;
        },
      );
      await delay(PAUSE_MS);
    }
  }),
);
console.log(JSON.stringify({ rounds, requests, slowest, failures }));
