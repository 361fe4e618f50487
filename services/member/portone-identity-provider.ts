import { request } from 'undici';
import { z } from 'zod';
import { DependencyUnavailable, DomainError } from '#service/errors';
import { type Patience, RetryableError, retry } from '#service/retry';
import type { IdentityProvider, VerifiedPerson } from './identity-provider.ts';

export interface PortOneOptions {
  /** Base URL of its API. */
  readonly url: string;
  readonly secret: string;
  readonly patience?: Partial<Patience>;
}

// What is read of the answer; it holds more, and may come to hold more still.
const identityVerification = z.discriminatedUnion('status', [
  z.object({
    id: z.string(),
    status: z.literal('VERIFIED'),
    verifiedCustomer: z.object({ ci: z.string().min(1).optional() }),
  }),
  z.object({ id: z.string(), status: z.enum(['READY', 'FAILED']) }),
]);

/** PortOne V2: `GET /identity-verifications/{id}`. https://developers.portone.io/api/rest-v2/identityVerification */
export function portOneIdentityProvider({ url, secret, patience }: PortOneOptions): IdentityProvider {
  return {
    async find(id) {
      // A URL would take these for the folder and its parent, percent-encoded or not.
      if (id === '.' || id === '..') throw unknown();
      const address = `${url.replace(/\/+$/, '')}/identity-verifications/${encodeURIComponent(id)}`;
      return read(id, await ask(address, secret, patience));
    },
  };
}

/** Asking changes nothing, so it is asked again whenever that may help. */
async function ask(address: string, secret: string, patience: Partial<Patience> = {}): Promise<unknown> {
  try {
    return await retry(async (signal) => {
      const { statusCode, headers, body } = await request(address, {
        headers: { authorization: `PortOne ${secret}`, accept: 'application/json' },
        signal,
      });
      if (statusCode === 200) return body.json();
      await body.dump();
      if (statusCode === 404 || statusCode === 400) throw unknown();
      if (statusCode === 429 || statusCode >= 500) throw RetryableError.fromAnswer(statusCode, headers['retry-after']);
      throw new Error(`The identity provider answered ${statusCode}: are its URL and secret right?`);
    }, patience);
  } catch (error) {
    if (error instanceof DomainError) throw error;
    throw unavailable(error);
  }
}

function read(id: string, answer: unknown): VerifiedPerson {
  const { success, data: verification, error } = identityVerification.safeParse(answer);
  if (!success) throw unavailable(new Error(`The identity provider answered something else: ${places(error)}`));
  if (verification.id !== id) throw unavailable(new Error('The identity provider answered another verification'));
  if (verification.status !== 'VERIFIED') throw notVerified(verification.status);
  const { ci } = verification.verifiedCustomer;
  if (!ci) {
    throw new DomainError(
      'identity-without-ci',
      'This way of verification does not tell persons apart',
      'unprocessable',
    );
  }
  return { ci };
}

/** Where the answer is wrong; not what it says there, which may be about a person. */
const places = (error: z.ZodError): string => error.issues.map(({ path }) => path.join('.') || 'all of it').join(', ');

function unknown(): DomainError {
  return new DomainError(
    'identity-verification-unknown',
    'The provider knows no such identity verification',
    'unprocessable',
  );
}

function notVerified(status: 'READY' | 'FAILED'): DomainError {
  const message = `The identity verification ${status === 'FAILED' ? 'has failed' : 'is not finished yet'}`;
  return new DomainError('identity-not-verified', message, 'unprocessable');
}

function unavailable(cause: unknown): DependencyUnavailable {
  const retryAfterSeconds = cause instanceof RetryableError ? cause.retryAfterSeconds : undefined;
  return new DependencyUnavailable('identity-provider-unavailable', 'The identity provider cannot be asked now', {
    cause,
    ...(retryAfterSeconds && { retryAfterSeconds }),
  });
}
