import { z } from 'zod';
import { common } from '#process/common-settings';
import { flag, integer, type Settings } from '#process/config';

const { NATS_URL, LOG_LEVEL } = common;

/** Environment of the command that creates JetStream's streams. */
export const settings = {
  NATS_URL,
  STREAM_REPLICAS: {
    schema: integer({ min: 1, max: 5 }),
    doc: 'number of servers that store each message; 3 survive the loss of one',
    default: '1',
  },
  STREAM_MAX_MIB: {
    schema: integer({ min: 1, max: 1_000_000 }),
    doc: 'maximum size of a stream on disk, in MiB; a full stream rejects messages, which then wait in the outbox',
    default: '256',
  },
  STREAM_MAX_AGE_HOURS: {
    schema: integer({ min: 1, max: 87_600 }),
    doc: 'hours that a stream keeps messages',
    default: '168',
  },
  LOG_LEVEL,
} as const satisfies Settings;

/** Environment of the command that creates JetStream's consumers and updates their settings. */
export const consumerSettings = {
  NATS_URL: { ...NATS_URL, doc: 'NATS URL as above, with a user who may manage consumers' },
  CONSUMER_BACK_OFF_SECONDS: {
    schema: z
      .string()
      .transform((value) => value.split(','))
      .pipe(z.array(integer({ min: 1, max: 999_999 }))),
    doc: 'delays before each redelivery of an unacknowledged message, in seconds, separated by commas',
  },
  CONSUMER_MAX_ACK_PENDING: {
    schema: integer({ min: 1, max: 999_999 }),
    doc: 'maximum number of unacknowledged messages per app',
  },
  CONSUMER_RECREATE_BOUND: {
    schema: flag,
    doc: 'whether to recreate consumers that a sidecar without its own account uses, so that apps with their own account can receive',
    default: 'false',
  },
  LOG_LEVEL,
} as const satisfies Settings;
