import { messagesOf } from './broker.ts';
import type { ownSystem, Person } from './own-system.ts';

interface DeferredDelivery {
  readonly consumer: string;
  readonly eventId: string;
  readonly aggregateId: string;
  readonly sequence: number;
  readonly attempts: number;
  readonly lastError: string | null;
}

interface PoisonCase {
  readonly consumer: string;
  /** Whether the member's later events wait for the failing one. */
  readonly order: 'convergent' | 'ordered';
  /** The rows whose inserts fail, so that exactly one login fails: the member's first, on this device. */
  readonly failsOn: (member: Person, device: string) => { readonly table: string; readonly when: string };
  /** Returns the number of a member's logins that it has handled. */
  readonly handled: (member: Person) => Promise<number>;
}

/** Reads what becomes of events that consumers of a system fail to handle. */
export function failingEvents({ running, count, operator }: ReturnType<typeof ownSystem>) {
  /** Returns the deferred deliveries of these members' events, as listed for operators. */
  async function deferredOf(state: 'early' | 'failing' | 'dead', ...members: Person[]) {
    const { deliveries } = await operator().get(`/v1/dead-letters?state=${state}&limit=200`);
    return (deliveries as DeferredDelivery[]).filter(({ aggregateId }) => members.some(({ id }) => id === aggregateId));
  }

  /** Returns the external messages about a member, in the order of the broker. */
  const broadcast = async (memberId: string): Promise<{ type: string; sequence: string }[]> =>
    (await messagesOf(running().brokerUrl))
      .filter(({ topic }) => topic === 'member-external')
      .map(({ body }) => JSON.parse(body))
      .filter(({ subject }) => subject === memberId);

  const poisonCases: PoisonCase[] = [
    {
      consumer: 'device-login-recorder',
      order: 'convergent',
      failsOn: (_, device) => ({ table: 'login_record', when: `new.device_id = '${device}'` }),
      handled: ({ id }) => count('login_record', 'member_id = $1', id),
    },
    {
      consumer: 'external-broadcaster',
      order: 'ordered',
      failsOn: ({ id }) => ({
        table: 'eventing.outbox',
        when: `new.channel = 'external' and new.ordering_key = '${id}' and (new.envelope->>'sequence')::int = 2`,
      }),
      handled: async ({ id }) => (await broadcast(id)).filter(({ type }) => type === 'member.logged-in').length,
    },
  ];

  return { deferredOf, broadcast, poisonCases };
}
