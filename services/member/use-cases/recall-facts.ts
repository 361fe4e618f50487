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
  /** Log-ins that were lost, those included whose numbers nobody can read any more. */
  #logIns = 0;

  constructor(keyring: Keyring, at = new Date()) {
    this.#keyring = keyring;
    this.#at = at;
  }

  /**
   * One fact, a member's in sequence. In `em`'s transaction.
   * @param isOver whether the member's last fact is among those that were lost
   */
  async recall(em: EntityManager, fact: LostFact, isOver: boolean): Promise<void> {
    if (fact.type === events.loggedIn.type) this.#logIns += 1;
    const member = await em.findOne(Member, fact.aggregateId);
    if (member?.status === 'ACTIVE') return this.#apply(em, member, fact);
    if (member) return;
    em.persist(Member.lost(fact.aggregateId, { isStated: isOver }, this.#at));
    if (isOver) await this.#keyring.keepDestroyed(em, [fact.aggregateId]);
  }

  /** Ends what has to end when all facts are recalled, and states that. In `em`'s transaction. */
  async finish(em: EntityManager): Promise<void> {
    for (const number of this.#sessions) {
      const session = await em.findOneOrFail(Session, number);
      if (session.loggedOutAt === null) (await lockMember(em, session.memberId)).logOut(session, 'RESTORED', this.#at);
    }
    await em.flush();
    await em.execute(PASS_OVER_NUMBERS, [this.#logIns]);
  }

  async #apply(em: EntityManager, member: Member, fact: LostFact): Promise<void> {
    const at = new Date(fact.time);
    const values = await this.#keyring.reveal(em, fact, fact.data.attributes);
    switch (fact.type) {
      case events.profileChanged.type:
        return this.#changeProfile(em, member, events.profileChanged.attributes.parse(values), at);
      case events.identityVerificationReleased.type:
        return member.recall('released', at);
      case events.loggedIn.type:
        return this.#logIn(em, member, events.loggedIn.attributes.parse(values), at);
      case events.loggedOut.type: {
        const { sessionNumber, logoutReason } = events.loggedOut.attributes.parse(values);
        (await em.findOne(Session, { number: sessionNumber, memberId: member.id }))?.end(logoutReason, at);
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

  /** An address that somebody else has taken since stays theirs. */
  async #changeProfile(
    em: EntityManager,
    member: Member,
    { email, ...change }: { email?: string | undefined; name?: string | undefined },
    at: Date,
  ): Promise<void> {
    const isTaken = email !== undefined && (await em.findOne(Member, { email, id: { $ne: member.id } })) !== null;
    member.recall({ ...change, ...(email !== undefined && !isTaken && { email }) }, at);
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
  from (select coalesce(max(number), 0) - nextval('session_number') as ahead from session) as s, generate_series(1, greatest(s.ahead, ?::bigint))`;
