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

/** A member system in which everybody is verified, unless told otherwise. */
export class TestMemberSystem implements MemberSystem {
  readonly standings = new Map<string, Standing>();
  readonly sessions = new Map<string, MemberSession>();
  /** Whom it was asked about. */
  readonly asked: string[] = [];
  /** What happens when it is asked, before it answers. */
  whenAsked: () => Promise<void> | void = () => undefined;

  async standingOf(memberId: string): Promise<Standing> {
    this.asked.push(memberId);
    await this.whenAsked();
    return this.standings.get(memberId) ?? 'VERIFIED';
  }

  async sessionOf(token: string): Promise<MemberSession | undefined> {
    await this.whenAsked();
    return this.sessions.get(token);
  }

  publisherOf() {
    const nothing = { events: [], next: '0_00000000-0000-0000-0000-000000000000' };
    return {
      latest: async () => void (await this.whenAsked()),
      published: async () => nothing,
      republish: async () => 0,
    };
  }

  /** The way of each canary that it has sent, by the fact's id. */
  readonly canaries = new Map<string, Hop[]>();

  async sendCanary(): Promise<string> {
    await this.whenAsked();
    const id = uuid();
    this.canaries.set(id, [{ name: 'recorder of member-external', at: new Date().toISOString(), trouble: null }]);
    return id;
  }

  async followCanary(id: string): Promise<Hop[] | undefined> {
    await this.whenAsked();
    return this.canaries.get(id);
  }
}

export interface FamilyAccountSystem extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly orm: MikroORM;
  readonly keyring: Keyring;
  readonly member: TestMemberSystem;
  /** An entity manager of its own, as each request has. */
  em(): EntityManager;
  /** Opens an account of a new member's and lets so many others join it; answers its id and their ids, the owner's first. */
  family(others?: number): Promise<{ id: string; memberIds: string[] }>;
  invite(familyAccountId: string, by: string): Promise<string>;
  accept(code: string, memberId: string): Promise<void>;
  /** The account's facts in sequence, without the prefix that all have. */
  factsOf(id: string): Promise<string[]>;
  /** The internal messages that wait for the relay, oldest first, as consumers would receive them. */
  messagesOf(id: string): Promise<ReceivedEvent[]>;
  /** The members of an account by position, and its owner. */
  membersOf(id: string): Promise<{ ownerId: string | null; memberIds: string[] }>;
}

/** A family-account system on a database of its own. */
export async function openFamilyAccountSystem(): Promise<FamilyAccountSystem> {
  const database = await createTestDatabase('family_account');
  const { orm, keyring } = await connect({ url: database.urls.app, masterKeys: [Buffer.alloc(32, 7)] });
  const member = new TestMemberSystem();
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
    async factsOf(id) {
      const facts = await database.sql<{ event_type: string; sequence: string }>(
        'select event_type, sequence from eventing.event_store where aggregate_id = $1 order by sequence',
        [id],
      );
      expect(facts.map(({ sequence }) => Number(sequence))).toEqual(facts.map((_, index) => index + 1));
      return facts.map(({ event_type }) => event_type.replace('family-account.', ''));
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
