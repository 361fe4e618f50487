import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import { readEnvelope } from '#eventing/cloud-event';
import type { Keyring } from '#eventing/keyring';
import { connect } from '../../../services/member/database.ts';
import type { Member } from '../../../services/member/domain/member.ts';
import type { Session } from '../../../services/member/domain/session.ts';
import { LoginThrottle } from '../../../services/member/login-throttle.ts';
import { lockMember } from '../../../services/member/use-cases/lock-member.ts';
import { registerMember } from '../../../services/member/use-cases/register-member.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

export const PASSWORD = 'correct horse battery';
export const masterKey = Buffer.alloc(32, 7);
export const limits = new LoginThrottle(masterKey);

export interface MemberSystem extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly orm: MikroORM;
  readonly keyring: Keyring;
  /** Returns a new entity manager, as each request has one. */
  em(): EntityManager;
  register(given?: Partial<{ email: string; name: string }>): Promise<Member>;
  /** Opens a session without a password, whose check is slow. */
  open(memberId: string, deviceId?: string, within?: EntityManager): Promise<Session>;
  /** Returns the types of all events of a member, in sequence, and checks that it is gapless. */
  eventTypesOf(memberId: string): Promise<string[]>;
  /** Returns the internal messages in the outbox, oldest first, as consumers would receive them. */
  messagesOf(memberId: string): Promise<ReceivedEvent[]>;
  /** Returns the numbers of a member's live sessions, in order. */
  liveSessionsOf(memberId: string): Promise<number[]>;
}

/** Opens a member system on its own database. */
export async function openMemberSystem(): Promise<MemberSystem> {
  const database = await createTestDatabase('member');
  const { orm, keyring } = await connect({ url: database.urls.app, masterKeys: [masterKey], program: 'test' });
  const em = () => orm.em.fork();
  return {
    database,
    orm,
    keyring,
    em,
    register: (given) => registerMember(em(), { ...aPerson(), ...given, password: PASSWORD }),
    open: (memberId, deviceId = uuid(), within = em()) =>
      within.transactional(async (tx) => {
        const member = await lockMember(tx, memberId);
        const [row] = await tx.execute<[{ number: string }]>(`select nextval('session_number') as number`);
        const device = { id: deviceId, name: 'a device', os: 'any' };
        const login = { number: Number(row.number), tokenHash: uuid(), device, ip: '192.0.2.1', userAgent: 'test' };
        const session = member.logIn(login, new Date());
        tx.persist(session);
        return session;
      }),
    async eventTypesOf(memberId) {
      const events = await database.sql<{ event_type: string; sequence: string }>(
        'select event_type, sequence from eventing.event_store where aggregate_id = $1 order by sequence',
        [memberId],
      );
      expect(events.map(({ sequence }) => Number(sequence))).toEqual(events.map((_, index) => index + 1));
      return events.map(({ event_type }) => event_type);
    },
    async messagesOf(memberId) {
      const rows = await database.sql<{ envelope: unknown }>(
        `select envelope from eventing.outbox where ordering_key = $1 and channel = 'internal' order by position`,
        [memberId],
      );
      return rows.map(({ envelope }) => readEnvelope(envelope));
    },
    async liveSessionsOf(memberId) {
      const rows = await database.sql<{ number: string }>(
        'select number from session where member_id = $1 and logged_out_at is null order by number',
        [memberId],
      );
      return rows.map(({ number }) => Number(number));
    },
    async [Symbol.asyncDispose]() {
      await orm.close(true);
      await database.drop();
    },
  };
}

/** Returns a unique e-mail address and name. */
export function aPerson() {
  const id = uuid();
  return { email: `${id}@example.com`, name: `Anna ${id}` };
}
