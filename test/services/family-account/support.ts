import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import type { Hop } from '#eventing/canary';
import { type ReceivedEvent, readEnvelope } from '#eventing/cloud-event';
import type { Keyring } from '#eventing/keyring';
import { connect } from '../../../services/family-account/database.ts';
import type { MemberSession, MemberSystem, Standing } from '../../../services/family-account/member-system.ts';
import { acceptInvitation } from '../../../services/family-account/use-cases/accept-invitation.ts';
import { invite } from '../../../services/family-account/use-cases/invite.ts';
import { openFamilyAccount } from '../../../services/family-account/use-cases/open-family-account.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

/** A fake member system. All members are verified (default), or have the standing set in `standings`. */
export class FakeMemberSystem implements MemberSystem {
  readonly standings = new Map<string, Standing>();
  readonly sessions = new Map<string, MemberSession>();
  /** The members whose standing was requested. */
  readonly standingRequests: string[] = [];
  /** Runs before each answer; may throw. */
  beforeAnswer: () => Promise<void> | void = () => undefined;

  async standingOf(memberId: string): Promise<Standing> {
    this.standingRequests.push(memberId);
    await this.beforeAnswer();
    return this.standings.get(memberId) ?? 'VERIFIED';
  }

  /** The tokens whose session was requested. */
  readonly sessionRequests: string[] = [];

  async sessionOf(token: string): Promise<MemberSession | undefined> {
    this.sessionRequests.push(token);
    await this.beforeAnswer();
    return this.sessions.get(token);
  }

  publisherOf() {
    const nothing = { events: [], next: '0_00000000-0000-0000-0000-000000000000' };
    return {
      latest: async () => void (await this.beforeAnswer()),
      published: async () => nothing,
      republish: async () => 0,
    };
  }

  /** The trace of each canary that it has sent, by event id. */
  readonly canaries = new Map<string, Hop[]>();

  async sendCanary(): Promise<string> {
    await this.beforeAnswer();
    const id = uuid();
    this.canaries.set(id, [{ name: 'recorder of member-external', at: new Date().toISOString(), problem: null }]);
    return id;
  }

  async followCanary(id: string): Promise<Hop[] | undefined> {
    await this.beforeAnswer();
    return this.canaries.get(id);
  }
}

export interface FamilyAccountSystem extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly orm: MikroORM;
  readonly keyring: Keyring;
  readonly member: FakeMemberSystem;
  /** Returns a new entity manager, as each request has one. */
  em(): EntityManager;
  /**
   * Opens an account for a new member and adds others.
   * @param others the number of further members (default 0)
   * @returns the account's id and the members' ids, the owner's first
   */
  family(others?: number): Promise<{ id: string; memberIds: string[] }>;
  invite(familyAccountId: string, by: string): Promise<string>;
  accept(code: string, memberId: string): Promise<void>;
  /** Returns the types of an account's events in sequence, without their common prefix. */
  eventTypesOf(id: string): Promise<string[]>;
  /** Returns the internal messages in the outbox, oldest first, as consumers would receive them. */
  messagesOf(id: string): Promise<ReceivedEvent[]>;
  /** Returns the members of an account by position, and its owner. */
  membersOf(id: string): Promise<{ ownerId: string | null; memberIds: string[] }>;
}

/** Opens a family-account system on its own database. */
export async function openFamilyAccountSystem(): Promise<FamilyAccountSystem> {
  const database = await createTestDatabase('family_account');
  const { orm, keyring } = await connect({ url: database.urls.app, masterKeys: [Buffer.alloc(32, 7)] });
  const member = new FakeMemberSystem();
  const em = () => orm.em.fork();
  const inviteBy = async (familyAccountId: string, by: string) => (await invite(em(), { familyAccountId, by })).code;
  const accept = async (code: string, memberId: string) => {
    await acceptInvitation(em(), member, { code, memberId });
  };
  return {
    database,
    orm,
    keyring,
    member,
    em,
    invite: inviteBy,
    accept,
    async family(others = 0) {
      const ownerId = uuid();
      const { account } = await openFamilyAccount(em(), member, { name: `Home ${ownerId}`, ownerId });
      const memberIds = [ownerId, ...Array.from({ length: others }, () => uuid())];
      for (const memberId of memberIds.slice(1)) await accept(await inviteBy(account.id, ownerId), memberId);
      return { id: account.id, memberIds };
    },
    async eventTypesOf(id) {
      const events = await database.sql<{ event_type: string; sequence: string }>(
        'select event_type, sequence from eventing.event_store where aggregate_id = $1 order by sequence',
        [id],
      );
      expect(events.map(({ sequence }) => Number(sequence))).toEqual(events.map((_, index) => index + 1));
      return events.map(({ event_type }) => event_type.replace('family-account.', ''));
    },
    async messagesOf(id) {
      const rows = await database.sql<{ envelope: unknown }>(
        `select envelope from eventing.outbox where ordering_key = $1 and channel = 'internal' order by position`,
        [id],
      );
      return rows.map(({ envelope }) => readEnvelope(envelope));
    },
    async membersOf(id) {
      const [account] = await database.sql<{ owner_id: string | null }>(
        'select owner_id from family_account where id = $1',
        [id],
      );
      const members = await database.sql<{ member_id: string }>(
        'select member_id from membership where family_account_id = $1 and ended_at is null order by position',
        [id],
      );
      return { ownerId: account!.owner_id, memberIds: members.map(({ member_id }) => member_id) };
    },
    async [Symbol.asyncDispose]() {
      await orm.close(true);
      await database.drop();
    },
  };
}
