import { DomainError } from '#process/errors';
import { identityHasher } from '../../../../services/member/identity-hash.ts';
import { readMember } from '../../../../services/member/use-cases/read-member.ts';
import { releaseIdentityVerification } from '../../../../services/member/use-cases/release-identity-verification.ts';
import { verifyIdentity } from '../../../../services/member/use-cases/verify-identity.ts';
import { withdrawMember } from '../../../../services/member/use-cases/withdraw-member.ts';
import { type MemberSystem, masterKey, openMemberSystem } from '../support.ts';

let system: MemberSystem;
beforeAll(async () => {
  system = await openMemberSystem();
});
afterAll(() => system[Symbol.asyncDispose]());

/** Knows every verification; its id is the person's CI. */
const provider = { find: async (id: string) => ({ ci: id }) };
const hashIdentity = identityHasher(masterKey);
const verify = (memberId: string, ci: string) =>
  verifyIdentity(system.em(), { memberId, identityVerificationId: ci }, { provider, hashIdentity });

describe('Verifying the identity', () => {
  test('stores a keyed hash of the person and records only status and time', async () => {
    const { id } = await system.register();
    await verify(id, 'CI of Anna');
    const [row] = await system.database.sql<{ identity_hash: string }>('select * from member where id = $1', [id]);
    expect(row!.identity_hash).toBe(hashIdentity('CI of Anna'));
    expect(row!.identity_hash).not.toBe(identityHasher(Buffer.alloc(32, 8))('CI of Anna'));
    const [, message] = await system.messagesOf(id);
    expect(await system.keyring.reveal(system.em(), message!, message!.data.attributes)).toEqual({
      identityVerificationStatus: 'VERIFIED',
      identityVerifiedAt: (await readMember(system.em(), id)).identityVerifiedAt!.toISOString(),
    });
  });

  test('verifies one member per person, even for concurrent requests', async () => {
    const members = await Promise.all([1, 2, 3].map(() => system.register()));
    const outcomes = await Promise.allSettled(members.map(({ id }) => verify(id, 'CI of Ben')));
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused.map(({ reason }) => [reason.slug, reason.kind])).toEqual([
      ['identity-taken', 'conflict'],
      ['identity-taken', 'conflict'],
    ]);
    const eventTypes = await Promise.all(members.map(({ id }) => system.eventTypesOf(id)));
    expect(eventTypes.flat().filter((type) => type === 'member.identity-verified')).toHaveLength(1);
  });

  test('accepts a person whose previous member has withdrawn or released it', async () => {
    const [withdrawn, released, last] = await Promise.all([system.register(), system.register(), system.register()]);
    await verify(withdrawn.id, 'CI of Cho');
    await withdrawMember(system.em(), withdrawn.id);
    await verify(released.id, 'CI of Cho');
    await releaseIdentityVerification(system.em(), { memberId: released.id, reason: 'moves to another member' });
    expect((await verify(last.id, 'CI of Cho')).isVerified).toBe(true);
  });

  test('calls the provider without holding a lock, and not for a withdrawn member', async () => {
    const { id } = await system.register();
    let calls = 0;
    const observingProvider = {
      find: async (ci: string) => {
        calls += 1;
        const locks = await system.database.sql(
          `select 1 from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`,
        );
        expect(locks).toEqual([]);
        return { ci };
      },
    };
    const verifyObserved = () =>
      verifyIdentity(
        system.em(),
        { memberId: id, identityVerificationId: 'CI of Dal' },
        { provider: observingProvider, hashIdentity },
      );
    await verifyObserved();
    await withdrawMember(system.em(), id);
    await expect(verifyObserved()).rejects.toMatchObject({ slug: 'member-withdrawn' });
    expect(calls).toBe(1);
  });

  test('changes nothing when the provider rejects it', async () => {
    const { id } = await system.register();
    const rejectingProvider = {
      find: () => Promise.reject(new DomainError('identity-not-verified', 'no', 'unprocessable')),
    };
    await expect(
      verifyIdentity(
        system.em(),
        { memberId: id, identityVerificationId: 'no-1' },
        { provider: rejectingProvider, hashIdentity },
      ),
    ).rejects.toMatchObject({ slug: 'identity-not-verified' });
    expect(await system.eventTypesOf(id)).toEqual(['member.registered']);
  });
});

test('Releasing a verification records its reason, encrypted', async () => {
  const { id } = await system.register();
  await verify(id, 'CI of Eun');
  await releaseIdentityVerification(system.em(), { memberId: id, reason: 'Eun’s passport has expired' });
  expect((await readMember(system.em(), id)).isVerified).toBe(false);
  expect((await system.eventTypesOf(id)).at(-1)).toBe('member.identity-verification-released');
  const rows = await system.database.sql('select * from eventing.event_store where aggregate_id = $1', [id]);
  expect(JSON.stringify(rows)).not.toContain('passport');
});
