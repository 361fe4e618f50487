import type { SubscriberStatus } from '#eventing/subscriber-status';
import type { Cluster } from './cluster.ts';
import { examineComponents, examineMissingComponents } from './components.ts';
import { unknownFields } from './definitions.ts';
import { type Finding, type Misdeclared, misdeclared, withRemedies } from './finding.ts';
import { examineDeployment, examineSidecars } from './pods.ts';
import { releasesOf } from './releases.ts';
import { examineMissingSubscriptions, examineStalled, examineSubscriptions } from './subscriptions.ts';

export interface Examined {
  /** App-ids of the system. Other apps of the namespace are ignored. */
  readonly apps: readonly string[];
  readonly cluster: Cluster;
  /** Subscriber status from the system's API; undefined if the API cannot be queried. */
  readonly subscribers: readonly SubscriberStatus[] | undefined;
  readonly now: Date;
}

/**
 * Compares the cluster's subscriptions with what sidecars have loaded and what apps have received. Without the API only
 * the cluster is examined: the reason for its failure is most likely there.
 * @returns the findings in the order in which to fix them
 */
export function examine({ apps, cluster, subscribers, now }: Examined): Finding[] {
  const subscriberOf = (app: string) => subscribers?.find(({ appId }) => appId === app);
  const declared = [
    ...examineDefinitions(cluster, apps),
    ...apps.flatMap((app) => [
      ...examineMissingSubscriptions(cluster, app, subscriberOf(app), now),
      ...examineMissingComponents(cluster, app, subscriberOf(app), now),
    ]),
    ...examineSubscriptions(cluster, apps),
    ...examineComponents(cluster, apps),
  ];
  const mayRestart = declared.length === 0;
  return [
    ...withRemedies(declared),
    ...apps.flatMap((app) => [
      ...examineDeployment(cluster, app, mayRestart),
      ...(subscribers ? examineSidecars(cluster, app, { subscriber: subscriberOf(app), now, mayRestart }) : []),
      ...examineStalled(cluster, app, subscriberOf(app)),
    ]),
  ];
}

/**
 * Kubernetes dropped the missing fields from the releases' resources, so these are restored too, and all apps
 * restarted.
 */
function examineDefinitions(cluster: Cluster, apps: readonly string[]): Misdeclared[] {
  const releases = releasesOf(cluster, apps);
  const by = { releases: releases.map(({ name }) => name), areDefinitionsOutdated: true } as const;
  const readers = releases.flatMap((it) => it.apps);
  return (cluster.definitions ?? []).flatMap((definition) =>
    unknownFields(definition).map((what) =>
      misdeclared(`CustomResourceDefinition ${definition.metadata.name}`, `is outdated: it ${what}`, by, readers),
    ),
  );
}
