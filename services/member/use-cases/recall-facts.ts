import type { EntityManager } from '@mikro-orm/postgresql';
import type { Keyring } from '#eventing/keyring';
import type { LostFact } from '#eventing/restore';
import { Member } from '../domain/member.ts';
import { Session } from '../domain/session.ts';
import { events } from '../events.ts';
import { hashToken, newToken } from '../tokens.ts';
import { findLiveSessions } from './list-sessions.ts';
import { lockMember } from './lock-member.ts';
import { forgetLogIns } from './withdraw-member.ts';

/**
 * Does again to members what their facts say that happened after the moment that the database was restored to. What a fact never says
 * stays as it was: passwords, and as whom somebody was verified.
 */
export class Recollection {
  readonly #keyring: Keyring;
  readonly #at: Date;
  /** Sessions of log-ins that were lost: their tokens are. */
  readonly #sessions = new Set<number>();

  constructor(keyring: Keyring, at = new Date()) {
    this.#keyring = keyring;
    this.#at = at;
  }

  /** One fact, in the order in which they were stated. In `em`'s transaction. */
  async recall(em: EntityManager, fact: LostFact): Promise<void> {
    const member = await em.findOne(Member, fact.aggregateId);
    if (!member) em.persist(Member.lost(fact.aggregateId, this.#at));
    else if (member.status === 'ACTIVE') await this.#apply(em, member, fact);
  }

  /** Ends what has to end when all facts are recalled, and states that. In `em`'s transaction. */
  async finish(em: EntityManager): Promise<void> {
    for (const number of this.#sessions) {
      const session = await em.findOneOrFail(Session, number);
      if (session.loggedOutAt === null) (await lockMember(em, session.memberId)).logOut(session, 'RESTORED', this.#at);
    }
    await em.flush();
    await em.execute(PASS_OVER_NUMBERS);
  }

  async #apply(em: EntityManager, member: Member, fact: LostFact): Promise<void> {
    const at = new Date(fact.time);
    const values = await this.#keyring.reveal(em, fact, fact.data.attributes);
    switch (fact.type) {
      case events.profileChanged.type:
        return member.recall(events.profileChanged.attributes.parse(values), at);
      case events.identityVerificationReleased.type:
        return member.recall('released', at);
      case events.loggedIn.type:
        return this.#logIn(em, member, events.loggedIn.attributes.parse(values), at);
      case events.loggedOut.type: {
        const { sessionNumber, logoutReason } = events.loggedOut.attributes.parse(values);
        (await em.findOne(Session, sessionNumber))?.end(logoutReason, at);
        return;
      }
      case events.withdrawn.type:
        for (const session of await findLiveSessions(em, member.id)) session.end('WITHDRAWN', at);
        member.recall('withdrawn', at);
        await em.flush();
        await forgetLogIns(em, member.id);
        return this.#keyring.destroy(em, [member.id]);
    }
  }

  /** Later sessions supersede earlier ones, whether they live or not: so it has to be there. */
  async #logIn(
    em: EntityManager,
    { id }: Member,
    said: { sessionNumber: number; deviceId: string; deviceName: string; deviceOs: string },
    at: Date,
  ): Promise<void> {
    const { sessionNumber: number, deviceId, deviceName: name, deviceOs: os } = said;
    if (await em.findOne(Session, number)) return;
    em.persist(Session.open(id, { number, tokenHash: hashToken(newToken()), device: { id: deviceId, name, os } }, at));
    this.#sessions.add(number);
  }
}

// The app's role may take numbers and not set them.
const PASS_OVER_NUMBERS = `
select count(nextval('session_number'))
  from (select coalesce(max(number), 0) - nextval('session_number') as ahead from session) as s, generate_series(1, s.ahead)`;
