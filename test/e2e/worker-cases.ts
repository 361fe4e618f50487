import { randomUUID } from 'node:crypto';
import type { ownSystem, Person } from './own-system.ts';

/** The effects of a login in one worker. */
export interface WorkerCase {
  readonly worker: string;
  /** The rows that its transaction writes. */
  readonly writes: { readonly table: string; readonly when?: string };
  /** @returns a login that triggers the worker, and a count of each of its effects */
  prepare(): Promise<{ logIn(): Promise<unknown>; effects(): Promise<number[]> }>;
}

/** Returns one case for each worker that a login triggers. */
export function workerCases({ count, register, logIn }: ReturnType<typeof ownSystem>): WorkerCase[] {
  const countEvents = (type: string, { id }: Person) =>
    count('eventing.event_store', 'event_type = $1 and aggregate_id = $2', type, id);
  const countExternalMessages = (type: string, { id }: Person) =>
    count(
      'eventing.published p join eventing.event_store e on e.id = p.event_id',
      `p.channel = 'external' and e.event_type = $1 and e.aggregate_id = $2`,
      type,
      id,
    );
  const countLogouts = (member: Person) =>
    Promise.all([countEvents('member.logged-out', member), countExternalMessages('member.logged-out', member)]);

  return [
    {
      worker: 'device-login-recorder',
      writes: { table: 'login_record' },
      async prepare() {
        const person = await register();
        const effects = () =>
          Promise.all(['login_record', 'public.written'].map((table) => count(table, 'member_id = $1', person.id)));
        return { logIn: () => logIn(person), effects };
      },
    },
    {
      worker: 'external-broadcaster',
      writes: { table: 'eventing.outbox', when: `new.channel = 'external'` },
      async prepare() {
        const person = await register();
        const effects = async () => [await countExternalMessages('member.logged-in', person)];
        return { logIn: () => logIn(person), effects };
      },
    },
    {
      worker: 'other-device-logout',
      writes: { table: 'eventing.event_store', when: `new.event_channel = 'other-device-logout'` },
      async prepare() {
        const person = await register();
        await logIn(person);
        return { logIn: () => logIn(person), effects: () => countLogouts(person) };
      },
    },
    {
      worker: 'other-member-logout',
      writes: { table: 'eventing.event_store', when: `new.event_channel = 'other-member-logout'` },
      async prepare() {
        const [superseded, later] = [await register(), await register()];
        const device = randomUUID();
        await logIn(superseded, device);
        return { logIn: () => logIn(later, device), effects: () => countLogouts(superseded) };
      },
    },
  ];
}
