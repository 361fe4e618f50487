/**
 * Environment variables before decision 0027, old name to new. A process refuses to start while an old name is set. Remove in
 * 0.3.
 */
export const renamedVariables: Readonly<Record<string, string>> = {
  PART_SECONDS: 'SHUTDOWN_DELAY_SECONDS',
  LINGER_SECONDS: 'SIDECAR_DRAIN_SECONDS',
  DRAIN_SECONDS: 'SHUTDOWN_TIMEOUT_SECONDS',
  END_SIDECAR: 'STOP_SIDECAR',
  SILENCE_SECONDS: 'SUBSCRIPTION_STALL_SECONDS',
  REPAIR_AFTER_SECONDS: 'RECONCILE_AFTER_SECONDS',
};

/** Chart values before decision 0027, old name to new. The charts' schemas reject the old names. */
export const renamedValues: Readonly<Record<string, string>> = {
  'shutdown.endpointsSeconds': 'shutdown.delaySeconds',
  'shutdown.lingerSeconds': 'shutdown.sidecarDrainSeconds',
  'shutdown.drainSeconds': 'shutdown.timeoutSeconds',
  'broker.silenceSeconds': 'broker.subscriptionStallSeconds',
  'broker.repairSeconds': 'broker.reconcileAfterSeconds',
};

/** Chart values that another one with another unit replaced, old name to new. The charts' schemas reject the old names. */
export const replacedValues: Readonly<Record<string, { readonly by: string; readonly unit: string }>> = {
  'api.keda.lagSeconds': { by: 'api.keda.waitingMessages', unit: 'messages' },
  'defaults.keda.lagSeconds': { by: 'defaults.keda.waitingMessages', unit: 'messages' },
};
