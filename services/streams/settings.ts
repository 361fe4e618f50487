import { z } from 'zod';
import { common, integer, type Settings } from '#service/config';

const { NATS_URL, LOG_LEVEL } = common;

/** The environment of the command that creates JetStream's streams. */
export const settings = {
  NATS_URL,
  STREAM_REPLICAS: {
    schema: integer({ min: 1, max: 5 }),
    doc: 'on how many servers each message lies: 3 survive the loss of one',
    default: '1',
  },
  STREAM_MAX_MIB: {
    schema: integer({ min: 1, max: 1_000_000 }),
    doc: 'what a stream may take on disk, in MiB; full, it refuses, and messages wait in the outbox',
    default: '256',
  },
  STREAM_MAX_AGE_HOURS: {
    schema: integer({ min: 1, max: 87_600 }),
    doc: 'how long messages are kept for consumers that have not seen them',
    default: '168',
  },
  LOG_LEVEL,
} as const satisfies Settings;

/** The environment of the command that brings consumers at JetStream to what sidecars ask for. */
export const consumerSettings = {
  NATS_URL: { ...NATS_URL, doc: 'NATS, by the sidecars’ user; else as above' },
  CONSUMER_BACK_OFF_SECONDS: {
    schema: z
      .string()
      .transform((value) => value.split(','))
      .pipe(z.array(integer({ min: 1, max: 999_999 }))),
    doc: 'after how long a message comes again that was not acknowledged, the first time and each time after that, separated by commas',
  },
  CONSUMER_MAX_ACK_PENDING: {
    schema: integer({ min: 1, max: 999_999 }),
    doc: 'how many messages may be under way to an app',
  },
  LOG_LEVEL,
} as const satisfies Settings;
