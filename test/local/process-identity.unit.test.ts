import { spawn } from 'node:child_process';
import { family } from '../../local/process-identity.ts';

test('the family of a process are its children and theirs, in whatever session they are', async () => {
  const script = `require('node:child_process').spawn('sleep', ['60'], { detached: true, stdio: 'ignore' }); console.log(''); setInterval(() => {}, 1000)`;
  const parent = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  await new Promise((resolve) => parent.stdout.once('data', resolve));
  const members = await family(parent.pid!);
  for (const pid of [...members].reverse()) process.kill(pid, 'SIGKILL');
  expect(members).toEqual([parent.pid, expect.any(Number)]);
});

test('a process that has gone is all of its family', async () => {
  const gone = spawn('true');
  await new Promise((resolve) => gone.once('exit', resolve));
  expect(await family(gone.pid!)).toEqual([gone.pid]);
});
