// Runs in a pod: members come, look and go, until SIGTERM or the time is over; then one line of JSON says how it went.
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';

// Callers pause, with their connections kept: without a pause they would leave a small node no time to start the pods that are replaced.
const PAUSE_MS = 500;

const [member, families] = ['http://member', 'http://family-account'];
const until = Date.now() + Number(process.env.SECONDS) * 1000;
const failures = {};
let [busy, requests, rounds, slowest] = [true, 0, 0, 0];
process.on('SIGTERM', () => {
  busy = false;
});

async function ask(method, url, body, token) {
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
  const { id } = await ask('POST', `${member}/v1/members`, { ...person, name: 'Somebody' });
  const device = { id: randomUUID(), name: 'phone', os: 'any' };
  const { token } = await ask('POST', `${member}/v1/sessions`, { ...person, device });
  await ask('GET', `${member}/v1/members/${id}`, undefined, token);
  const verification = { identityVerificationId: `ok-${randomUUID()}` };
  await ask('PUT', `${member}/v1/members/${id}/identity-verification`, verification, token);
  const account = await ask('POST', `${families}/v1/family-accounts`, { name: 'Home' }, token);
  await ask('DELETE', `${families}/v1/family-accounts/${account.id}/members/${id}`, undefined, token);
  await ask('DELETE', `${member}/v1/sessions/current`, undefined, token);
}

await Promise.all(
  Array.from({ length: Number(process.env.CLIENTS) }, async () => {
    while (busy && Date.now() < until) {
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
