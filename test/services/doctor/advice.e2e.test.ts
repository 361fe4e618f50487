import { print } from '../../../services/doctor/report.ts';
import { look, NOW, named, remove, set, subscriberOf, well } from './world.ts';

const UPGRADE = 'helm upgrade workers charts/workers --reset-then-reuse-values --wait --timeout 15m';
const RESTART = 'kubectl rollout restart deployment/external-broadcaster';
const NAME = 'external-broadcaster-member-internal';

describe('What to do about it makes nothing worse:', () => {
  test('an app that hears yet is not restarted', async () => {
    const world = well();
    remove(world.subscriptions, NAME);
    expect((await look(world)).findings).toMatchObject([{ what: /hears .* until/, remedy: UPGRADE }].map(matching));
    // One of its pods is new.
    const pod = structuredClone(named(world.pods, 'external-broadcaster-7f-x2'));
    world.pods.push({ ...pod, metadata: { ...pod.metadata, name: 'external-broadcaster-8a-y3' } });
    const { sidecars } = subscriberOf(world, 'external-broadcaster');
    sidecars.push({ ...sidecars[0]!, replica: 'external-broadcaster-8a-y3:3500', subscriptions: [] });
    expect((await look(world)).findings).toMatchObject(
      [{ what: /hears .* until/, remedy: `${UPGRADE} &&\n${RESTART}` }].map(matching),
    );
    sidecars[0]!.subscriptions = [];
    expect((await look(world)).findings).toMatchObject(
      [{ what: /hears nothing/, remedy: `${UPGRADE} &&\n${RESTART}` }].map(matching),
    );
  });

  test('what a pod that was killed had loaded counts for nothing', async () => {
    const world = well();
    remove(world.subscriptions, NAME);
    const { sidecars } = subscriberOf(world, 'external-broadcaster');
    sidecars.unshift({ ...sidecars[0]!, replica: 'external-broadcaster-6e-w1:3500' });
    sidecars[1]!.subscriptions = [];
    expect((await look(world)).findings).toMatchObject([{ what: /hears nothing/ }].map(matching));
  });

  test('what somebody has edited is made anew, since an upgrade would leave it so, and only then read', async () => {
    const world = well();
    named(world.subscriptions, NAME).spec.metadata = {};
    expect((await look(world)).findings).toMatchObject([
      { remedy: `kubectl delete subscriptions.dapr.io ${NAME} &&\n${UPGRADE} &&\n${RESTART}` },
    ]);
    const broken = well();
    set(broken, 'workers-member-external', 'ackWait', undefined);
    expect((await look(broken)).findings).toMatchObject([
      {
        remedy: `kubectl delete components.dapr.io workers-member-external &&\n${UPGRADE} &&\nkubectl rollout restart deployment/publish-recorder`,
      },
    ]);
    // A platform's own.
    delete named(broken.components, 'workers-member-external').metadata.labels;
    expect((await look(broken)).findings).toMatchObject([
      {
        remedy:
          '# make workers-member-external as the charts make it\nkubectl rollout restart deployment/publish-recorder',
      },
    ]);
  });

  test('of a Subscription and a Component that do not go together, the one is made anew that is not what its name says', async () => {
    const world = well();
    set(world, 'workers-member-internal', 'subscriptionScopes', 'nobody=member-internal');
    const [first] = (await look(world)).findings;
    expect(first!.what).toMatch(/whose subscriptionScopes do not let/);
    expect(first!.remedy).toBe(`kubectl delete components.dapr.io workers-member-internal &&\n${UPGRADE}`);
    const gone = well();
    remove(gone.components, 'workers-member-internal');
    expect((await look(gone)).findings[0]!.remedy).toBe(UPGRADE);
  });

  test('nobody is restarted to read what is wrong', async () => {
    const world = well();
    named(world.subscriptions, NAME).spec.topic = 'members';
    const { findings } = await look(world);
    const declared = findings.filter(({ where }) => !where.startsWith('Pod '));
    expect(declared.length).toBeGreaterThan(2);
    for (const { remedy } of declared.slice(0, 2))
      expect(remedy).toBe(`kubectl delete subscriptions.dapr.io ${NAME} &&\n${UPGRADE}`);
    expect(declared.map(({ remedy }) => remedy.includes('rollout restart'))).toEqual(
      declared.map((_, index) => index === declared.length - 1),
    );
    const follows = findings.find(({ what }) => what.startsWith('its sidecar does not follow'));
    expect(follows!.remedy).toBe('mend what else is found, then look again');
    expect(findings.indexOf(follows!)).toBeGreaterThan(0);
    const right = well();
    subscriberOf(right, 'external-broadcaster').sidecars[0]!.subscriptions = [];
    expect((await look(right)).findings).toMatchObject([
      { remedy: `kubectl logs external-broadcaster-7f-x2 --container daprd\n${RESTART}` },
    ]);
  });
});

const matching = ({ what, ...rest }: { what: RegExp; remedy?: string }) => ({
  ...rest,
  what: expect.stringMatching(what),
});

test('a pod that is about to go is nobody’s trouble', async () => {
  const world = well();
  const pod = structuredClone(named(world.pods, 'external-broadcaster-7f-x2'));
  world.pods.push({
    ...pod,
    metadata: { ...pod.metadata, name: 'external-broadcaster-6e-w1', deletionTimestamp: NOW() },
  });
  expect((await look(world)).findings).toEqual([]);
  delete world.pods.at(-1)!.metadata.deletionTimestamp;
  expect((await look(world)).findings).toMatchObject([{ where: 'Pod external-broadcaster-6e-w1' }]);
});

test('of what may be on its way it is said that it is not known yet', async () => {
  const ago = (seconds: number) => new Date(Date.now() - seconds * 1_000).toISOString();
  const world = well();
  const [topic] = subscriberOf(world, 'external-broadcaster').topics;
  topic!.unheardSince = ago(2);
  expect(await look(world)).toEqual({ findings: [], unseen: [] });
  topic!.unheardSince = ago(20);
  const found = await look(world);
  expect(print(found)).toMatch(
    /^Nothing is found .*\nexternal-broadcaster has not heard yet what was published to member-internal 2\d s ago: look/,
  );
  topic!.unheardSince = ago(300);
  expect((await look(world)).unseen).toEqual([]);
  topic!.unheardSince = ago(20);
  topic!.missedSince = NOW();
  const { findings, unseen } = await look(world);
  expect([findings.length, unseen]).toEqual([1, []]);
});
