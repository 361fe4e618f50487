/** Topics that an app publishes to and consumes from. */
export interface AppTopics {
  readonly publishes: readonly string[];
  readonly consumes: readonly string[];
}

/** A NATS user: of an app, or without `topics` an administrator of streams and consumers. */
export interface BrokerUser {
  readonly user: string;
  readonly password: string;
  readonly topics?: AppTopics;
}

/** NATS account that owns the streams and consumers. */
export const STREAMS_ACCOUNT = 'events';

/**
 * Subject prefix of JetStream's API in the apps' accounts: the `apiPrefix` of the Components. `$JS.API` cannot be used:
 * the server itself replies there in each account, with an error for accounts without JetStream.
 */
export const API_PREFIX = 'events.api';

/** Returns the name of an app's durable consumer, which the Components declare as `durableName: {appID}-<topic>`. */
export const durableOf = (appId: string, topic: string): string => `${appId}-${topic}`;

/**
 * Returns the subject that JetStream delivers a durable's messages to. It is fixed, so that only the app can import it.
 */
export const deliverSubjectOf = (durable: string): string => `deliver.${durable}`;

/** A subject of the streams' account that an app's account imports, under the name `as`. */
interface Import {
  /** `service` for subjects that the app publishes to, `stream` for subjects that it receives. */
  readonly kind: 'service' | 'stream';
  readonly subject: string;
  readonly as: string;
}

const service = (subject: string, as = subject): Import => ({ kind: 'service', subject, as });
const api = (endpoint: string): Import => service(`$JS.API.${endpoint}`, `${API_PREFIX}.${endpoint}`);

/**
 * Returns the imports that an app's sidecar needs: its topics, and the deliveries of its consumers. It can neither
 * create nor change consumers, not even its own: NATS does not check a consumer's deliver subject against the
 * permissions of the user who sets it, so an app could make the server forward its messages to any other topic.
 * @throws Error for an app without topics, since NATS treats an empty list of permissions as no limit
 */
export function importsOf(appId: string, { publishes, consumes }: AppTopics): readonly Import[] {
  if (publishes.length + consumes.length === 0)
    throw new Error(`${appId} neither publishes nor consumes: it needs no user at the broker`);
  return [
    ...publishes.map((topic) => service(topic)),
    ...(consumes.length > 0 ? [api('STREAM.NAMES')] : []),
    ...consumes.flatMap((topic) => {
      const durable = durableOf(appId, topic);
      const delivered = deliverSubjectOf(durable);
      return [
        api(`CONSUMER.INFO.${topic}.${durable}`),
        service(`$JS.ACK.${topic}.${durable}.>`),
        { kind: 'stream', subject: delivered, as: delivered } as const,
      ];
    }),
  ];
}

/**
 * Returns the `accounts` block of nats-server's configuration for these users. Each app has its own account, which
 * imports what it needs from the streams' account. Permissions of a user within the streams' account would not be
 * enough: the server sends its response to an acknowledgement to any reply subject, such as
 * `$JS.API.STREAM.DELETE.<stream>`, so such a user could delete streams. Across accounts the server replaces the reply
 * subject, and the response stays in the account of the sender.
 * @throws Error if two users, or the deliver subjects of two consumers, have the same name
 */
export function accounts(users: readonly BrokerUser[]): string {
  rejectDuplicates([STREAMS_ACCOUNT, ...users.map(({ user }) => user)]);
  const apps = users.flatMap(({ topics, ...login }) =>
    topics ? [{ login, imports: importsOf(login.user, topics) }] : [],
  );
  const importers = Map.groupBy(
    apps.flatMap(({ login, imports }) => imports.map(({ kind, subject }) => ({ kind, subject, app: login.user }))),
    ({ kind, subject }) => JSON.stringify({ [kind]: subject }),
  );
  // Such as app `a-b` with topic `c`, and app `a` with topic `b-c`.
  rejectDuplicates(apps.flatMap(({ imports }) => imports.filter(({ kind }) => kind === 'stream').map(({ as }) => as)));
  const streams = {
    jetstream: 'enabled',
    // For Components with this prefix whose user is in this account.
    mappings: { [`${API_PREFIX}.>`]: '$JS.API.>' },
    users: users.filter(({ topics }) => !topics).map(({ user, password }) => ({ user, password })),
    exports: [...importers].map(([key, all]) => ({ ...JSON.parse(key), accounts: all.map(({ app }) => app) })),
  };
  const ofApp = ({ login, imports }: (typeof apps)[number]) => ({
    users: [{ ...login, permissions: permissionsOf(imports) }],
    imports: imports.map(({ kind, subject, as }) => ({
      [kind]: { account: STREAMS_ACCOUNT, subject },
      ...(as !== subject && { to: as }),
    })),
  });
  const all = { [STREAMS_ACCOUNT]: streams, ...Object.fromEntries(apps.map((app) => [app.login.user, ofApp(app)])) };
  // JSON is NATS configuration.
  return `accounts ${JSON.stringify(all, null, 2)}\n`;
}

function rejectDuplicates(names: readonly string[]): void {
  const duplicate = names.find((name, index) => names.indexOf(name) !== index);
  if (duplicate) throw new Error(`duplicate name ${duplicate} at the broker: rename the app or the topic`);
}

/**
 * Permissions for the imported subjects only. Anything else is then an error in the server's log, instead of a request
 * without a response.
 */
function permissionsOf(imports: readonly Import[]) {
  const names = (kind: Import['kind']) => imports.filter((it) => it.kind === kind).map(({ as }) => as);
  return { publish: { allow: names('service') }, subscribe: { allow: ['_INBOX.>', ...names('stream')] } };
}
