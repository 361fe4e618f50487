import { spawn } from 'node:child_process';
import { processTree } from '../../../local/supervisor/process-identity.ts';

test('the family of a process includes all descendants, also in other sessions', async () => {
  const script = `require('node:child_process').spawn('sleep', ['60'], { detached: true, stdio: 'ignore' }); console.log(''); setInterval(() => {}, 1000)`;
  const parent = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  await new Promise((resolve) => parent.stdout.once('data', resolve));
  const members = await processTree(parent.pid!);
  for (const pid of [...members].reverse()) process.kill(pid, 'SIGKILL');
  expect(members).toEqual([parent.pid, expect.any(Number)]);
});

test('the family of an ended process is that process alone', async () => {
  const ended = spawn('true');
  await new Promise((resolve) => ended.once('exit', resolve));
  expect(await processTree(ended.pid!)).toEqual([ended.pid]);
});
