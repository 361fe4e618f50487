import type { MikroORM } from '@mikro-orm/postgresql';
import type { Middleware } from 'koa';
import type { System } from '#eventing/cloud-event';
import { daprSubscriptions, type Subscriber } from '#eventing/dapr-subscriptions';
import { Hearing } from '#eventing/hearing';
import { Inbox } from '#eventing/inbox';
import { keepUnreadable } from '#eventing/kept-deliveries';
import { Repair, type RepairedTopic } from '#eventing/repair';
import { ownPublisher } from '#eventing/republish';
import { Sidecar } from '#eventing/sidecar';
import { SidecarReports } from '#eventing/subscribers';
import type { Config, hearing } from './config.ts';
import type { Life } from './run.ts';

export interface HearOptions extends Pick<Life, 'stack' | 'log'> {
  readonly orm: MikroORM;
  /** To which `orm`'s database belongs: the publisher of all topics whose publisher is not named. */
  readonly system: System;
  readonly appId: string;
  /** By topic, who in this process hears it. */
  readonly topics: Readonly<Record<string, Subscriber>>;
  readonly config: Config<typeof hearing>;
}

/**
 * All by which a process hears topics: the routes that daprd delivers to, what tries failed deliveries again, what notices that nothing
 * is delivered any more, and what asks again for that which did not arrive.
 * @returns the routes, to come before the process's own
 */
export function hear({ stack, log, orm, system, appId, topics, config }: HearOptions): Middleware {
  const silenceMs = config.SILENCE_SECONDS * 1000;
  const inbox = stack.use(new Inbox(orm, { log }));
  inbox.start(Object.values(topics).flatMap(({ consumers = [] }) => consumers));
  const itsSidecar = { port: config.DAPR_HTTP_PORT, apiToken: config.DAPR_API_TOKEN };
  stack.use(new SidecarReports({ orm, appId, ...itsSidecar }).start());
  const sidecar = new Sidecar({
    ...itsSidecar,
    brokers: config.BROKER_ADDRESS,
    silenceMs,
    log,
  });
  const ears = new Hearing({ orm, appId, topics, sidecar, silenceMs, log }).start();
  const repaired = Object.entries(topics).flatMap(
    ([topic, { source, consumers, publisher }]): [string, RepairedTopic][] => {
      if (!consumers) return [];
      return [
        [topic, { source, consumers, publisher: publisher ?? ownPublisher(orm, { system, topic, target: appId }) }],
      ];
    },
  );
  const afterMs = config.REPAIR_AFTER_SECONDS * 1000;
  const repair = new Repair({ orm, appId, topics: Object.fromEntries(repaired), afterMs, log }).start();
  // At once: either may be waiting for a neighbour that does not answer, and shutting down has its time.
  stack.defer(async () => void (await Promise.all([ears, repair].map((it) => it[Symbol.asyncDispose]()))));
  return daprSubscriptions({
    appId,
    appToken: config.APP_API_TOKEN,
    topics,
    inbox,
    heard: (topic, messageId) => ears.heard(topic, messageId),
    keepUnreadable: (raw, error) => keepUnreadable(orm, appId, raw, error),
    log,
  });
}
