import type { EntityManager } from '@mikro-orm/postgresql';
import type { Keyring } from '#eventing/keyring';
import type { StoredEvent } from '#eventing/restore';
import { Member } from '../domain/member.ts';
import { Session } from '../domain/session.ts';
import { events } from '../events.ts';
import { hashToken, newToken } from '../tokens.ts';
import { findLiveSessions } from './list-sessions.ts';
import { lockMember } from './lock-member.ts';
import { erasePerson } from './withdraw-member.ts';

/**
 * Applies events, recorded after the time that the database was restored to, to members again. Passwords and verified identities keep their
 * restored state, because no event holds them.
 */
export class Replay {
  readonly #keyring: Keyring;
  readonly #at: Date;
  /** Numbers of recreated sessions; their tokens are lost. */
  readonly #recreated = new Set<number>();
  /** Number of lost log-ins, including those whose session numbers are erased. */
  #logIns = 0;

  constructor(keyring: Keyring, at = new Date()) {
    this.#keyring = keyring;
    this.#at = at;
  }

  /**
   * Replays one event, in `em`'s transaction. Call it for each member's events in sequence.
   * @param isOver whether the member's last event is among the lost ones
   */
  async replay(em: EntityManager, event: StoredEvent, isOver: boolean): Promise<void> {
    if (event.type === events.loggedIn.type) this.#logIns += 1;
    const member = await em.findOne(Member, event.aggregateId);
    if (member?.status === 'ACTIVE') return this.#apply(em, member, event);
    if (member) return;
    em.persist(Member.lost(event.aggregateId, { isRecorded: isOver }, this.#at));
    if (isOver) await this.#keyring.markDestroyed(em, [event.aggregateId]);
  }

  /** Ends the recreated sessions that are still live, which raises events, and skips used session numbers. Runs in `em`'s transaction. */
  async finish(em: EntityManager): Promise<void> {
    for (const number of this.#recreated) {
      const session = await em.findOneOrFail(Session, number);
      if (session.loggedOutAt === null) (await lockMember(em, session.memberId)).logOut(session, 'RESTORED', this.#at);
    }
    await em.flush();
    await em.execute(SKIP_NUMBERS, [this.#logIns]);
  }

  async #apply(em: EntityManager, member: Member, event: StoredEvent): Promise<void> {
    const at = new Date(event.time);
    const values = await this.#keyring.reveal(em, event, event.data.attributes);
    switch (event.type) {
      case events.profileChanged.type:
        return this.#changeProfile(em, member, events.profileChanged.attributes.parse(values), at);
      case events.identityVerificationReleased.type:
        return member.replay('released', at);
      case events.loggedIn.type:
        return this.#logIn(em, member, events.loggedIn.attributes.parse(values), at);
      case events.loggedOut.type: {
        const { sessionNumber, logoutReason } = events.loggedOut.attributes.parse(values);
        (await em.findOne(Session, { number: sessionNumber, memberId: member.id }))?.end(logoutReason, at);
        return;
      }
      case events.withdrawn.type:
        for (const session of await findLiveSessions(em, member.id)) session.end('WITHDRAWN', at);
        member.replay('withdrawn', at);
        await em.flush();
        await erasePerson(em, member.id);
        return this.#keyring.destroy(em, [member.id]);
    }
  }

  /** Applies a profile change, without an e-mail address that another member has taken since. */
  async #changeProfile(
    em: EntityManager,
    member: Member,
    { email, ...change }: { email?: string | undefined; name?: string | undefined },
    at: Date,
  ): Promise<void> {
    const isTaken = email !== undefined && (await em.findOne(Member, { email, id: { $ne: member.id } })) !== null;
    member.replay({ ...change, ...(email !== undefined && !isTaken && { email }) }, at);
  }

  /** Recreates the session of a lost log-in, even without a usable token: a later session, live or not, supersedes earlier ones. */
  async #logIn(
    em: EntityManager,
    { id }: Member,
    login: { sessionNumber: number; deviceId: string; deviceName: string; deviceOs: string },
    at: Date,
  ): Promise<void> {
    const { sessionNumber: number, deviceId, deviceName: name, deviceOs: os } = login;
    if (await em.findOne(Session, number)) return;
    em.persist(Session.open(id, { number, tokenHash: hashToken(newToken()), device: { id: deviceId, name, os } }, at));
    this.#recreated.add(number);
  }
}

// Advances the sequence by `nextval`: the app's role has no right to `setval`.
const SKIP_NUMBERS = `
select count(nextval('session_number'))
  from (select coalesce(max(number), 0) - nextval('session_number') as ahead from session) as s, generate_series(1, greatest(s.ahead, ?::bigint))`;
