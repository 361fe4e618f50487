import type { MikroORM } from '@mikro-orm/postgresql';
import type { Middleware } from 'koa';
import { type System, sourceOf } from '#eventing/cloud-event';
import { daprSubscriptions } from '#eventing/dapr-subscriptions';
import { Inbox } from '#eventing/inbox';
import { Receiver, type Subscriber } from '#eventing/receiver';
import { type ReconciledTopic, Reconciler } from '#eventing/reconciler';
import { ownPublisher } from '#eventing/republish';
import { SidecarWatchdog } from '#eventing/sidecar-watchdog';
import { SidecarStatusReporter } from '#eventing/subscriber-status';
import { SubscriptionWatchdog } from '#eventing/subscription-watchdog';
import type { subscriberSettings } from '#process/common-settings';
import type { Config } from '#process/config';
import type { ProcessContext } from '#process/run';

export interface SubscribeOptions extends Pick<ProcessContext, 'stack' | 'log'> {
  readonly orm: MikroORM;
  /** The system that owns `orm`'s database. It publishes all topics without a `publisher`. */
  readonly system: System;
  readonly appId: string;
  /** The subscriber of each topic. */
  readonly topics: Readonly<Record<string, Subscriber>>;
  readonly config: Config<typeof subscriberSettings>;
}

/**
 * Starts everything that a process needs to receive topics: the routes for daprd's deliveries, the inbox that retries
 * deferred deliveries, the watchdogs for stalled subscriptions, and the reconciler that requests missing events.
 * @returns the routes, for the sidecar's listener
 */
export function subscribe({ stack, log, orm, system, appId, topics, config }: SubscribeOptions): Middleware {
  const stallMs = config.SUBSCRIPTION_STALL_SECONDS * 1000;
  const retries = { maxAttempts: config.CONSUMER_ATTEMPTS, backoffMs: config.CONSUMER_BACKOFF_MS };
  const inbox = stack.use(new Inbox(orm, { ownSource: sourceOf(system), ...retries, log }));
  inbox.start(Object.values(topics).flatMap(({ consumers = [] }) => consumers));
  const sidecarAddress = { port: config.DAPR_HTTP_PORT, apiToken: config.DAPR_API_TOKEN };
  stack.use(new SidecarStatusReporter({ orm, appId, ...sidecarAddress }).start());
  const sidecar = new SidecarWatchdog({
    ...sidecarAddress,
    brokers: config.BROKER_ADDRESS,
    stallMs,
    log,
  });
  const watchdog = new SubscriptionWatchdog({ orm, appId, topics, sidecar, stallMs, log }).start();
  const reconciledTopics = Object.entries(topics).flatMap(
    ([topic, { source, consumers, publisher }]): [string, ReconciledTopic][] => {
      if (!consumers) return [];
      return [
        [topic, { source, consumers, publisher: publisher ?? ownPublisher(orm, { system, topic, target: appId }) }],
      ];
    },
  );
  const afterMs = config.RECONCILE_AFTER_SECONDS * 1000;
  const reconciler = new Reconciler({ orm, appId, topics: Object.fromEntries(reconciledTopics), afterMs, log }).start();
  // Concurrently: each may be waiting for an upstream that does not respond, and the time for the shutdown is limited.
  stack.defer(async () => void (await Promise.all([watchdog, reconciler].map((it) => it[Symbol.asyncDispose]()))));
  const received = (topic: string, messageId?: string) => watchdog.received(topic, messageId);
  const receiver = stack.use(new Receiver({ orm, appId, topics, inbox, received, log }));
  inbox.startBodies(appId, (due) => receiver.redeliver(due));
  return daprSubscriptions({ topics: Object.keys(topics), receiver, received, log });
}
