import { randomBytes, randomUUID } from 'node:crypto';
import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { openDemoTarget } from '../../k8s/port-forward.ts';
import { Api } from '../../local/demo/api.ts';
import { playStory } from '../../local/story.ts';
import { workers } from '../../services/workers/workers.ts';
import { eventually } from '../support/eventually.ts';
import { expectInvariants } from './invariants.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
});

const kubectl = (...args: string[]) => cluster.shell.kubectl('--namespace', NAMESPACE, ...args);
/** Runs a script in the pod of the database. */
const inPostgres = (script: string) => kubectl('exec', 'postgres-0', '--', 'sh', '-ec', script);
const psql = (database: string, sql: string) =>
  inPostgres(`psql --username postgres --no-psqlrc --quiet --set ON_ERROR_STOP=1 ${database} --command "${sql}"`);

/** Runs the chart's Job for a restore. @returns its last log entry */
async function runJob(name: string): Promise<Record<string, unknown>> {
  await kubectl('create', 'job', name, '--from=cronjob/member-restore');
  try {
    const isOver = async () => {
      const { succeeded, failed } = JSON.parse(await kubectl('get', 'job', name, '--output=json')).status;
      expect(succeeded ?? failed).toBe(1);
    };
    await eventually(isOver, { timeoutMs: 90_000 });
    return JSON.parse((await kubectl('logs', `job/${name}`)).trim().split('\n').at(-1)!);
  } finally {
    await kubectl('delete', 'job', name);
  }
}

test('a database restored as documented gets its lost events back, and both systems go on', async () => {
  await using back = new AsyncDisposableStack();
  back.defer(async () => void (await Promise.all(['member', 'workers'].map((it) => installChart(cluster.shell, it)))));
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
  const device = { id: randomUUID(), name: 'phone', os: 'any' };
  let id = '';
  {
    await using target = await openDemoTarget(cluster.shell, NAMESPACE);
    const member = new Api(target.memberUrl);
    ({ id } = await member.post('/v1/members', { ...person, name: 'Before' }));
    const { token } = await member.post('/v1/sessions', { ...person, device });
    await expectInvariants(cluster.shell);
    await psql('postgres', 'create database backup owner member_owner template template0');
    await inPostgres(
      'pg_dump --username postgres member | psql --username postgres --quiet --set ON_ERROR_STOP=1 backup',
    );
    await member.as(token).patch(`/v1/members/${id}`, { name: 'Since' });
    await playStory(target, () => undefined);
    await expectInvariants(cluster.shell);
  }
  expect(await runJob('too-early')).toMatchObject({
    msg: expect.stringMatching(/^could not start: Other programs use the database: .*member/),
  });

  await kubectl('scale', 'deployment', '--replicas=0', '-l', 'app.kubernetes.io/instance in (member, workers)');
  const apps = ['member', ...Object.keys(workers)].join(', ');
  await kubectl('wait', '--for=delete', 'pod', '-l', `app.kubernetes.io/name in (${apps})`, '--timeout=120s');
  await psql('postgres', 'drop database member with (force)');
  await psql('postgres', 'alter database backup rename to member');
  await psql('postgres', 'revoke all on database member from public');
  await psql(
    'postgres',
    'grant connect on database member to member_app, member_relay, member_housekeeping, member_readonly',
  );
  // The story's members registered after the backup.
  expect(await runJob('restore-1')).toMatchObject({
    msg: 'done',
    notReplayed: 0,
    conflicts: 0,
    gaps: 0,
    aggregates: expect.any(Number),
  });
  expect(await runJob('restore-2')).toMatchObject({ msg: 'done', imported: 0, aggregates: 0 });

  await back.disposeAsync();
  await using target = await openDemoTarget(cluster.shell, NAMESPACE);
  const operator = new Api(target.memberOperationsUrl, target.memberOperatorToken);
  await eventually(async () => expect(await operator.get(`/v1/members/${id}`)).toMatchObject({ name: 'Since' }), {
    timeoutMs: 60_000,
  });
  // family-account's sidecar looked up member while it was down, which DNS caches for a while. The token is
  // well-formed, so family-account calls member.
  const unknownToken = { headers: { authorization: `Bearer ${randomBytes(32).toString('base64url')}` } };
  const status = async () => (await fetch(`${target.familyAccountUrl}/v1/family-accounts/${id}`, unknownToken)).status;
  await eventually(async () => expect(await status()).toBe(401), { timeoutMs: 60_000 });
  await playStory(target, () => undefined);
  await expectInvariants(cluster.shell);
}, 600_000);
