import { request } from 'undici';
import { z } from 'zod';
import { DependencyUnavailable, DomainError } from '#process/errors';
import { RetryableError, type RetryPolicy, retry } from '#process/retry';
import type { IdentityProvider, VerifiedPerson } from './identity-provider.ts';

export interface PortOneOptions {
  /** Base URL of the API. */
  readonly url: string;
  readonly secret: string;
  readonly patience?: Partial<RetryPolicy>;
}

// Only the fields that are used: responses hold more, and may get further fields.
const identityVerification = z.discriminatedUnion('status', [
  z.object({
    id: z.string(),
    status: z.literal('VERIFIED'),
    verifiedCustomer: z.object({ ci: z.string().min(1).optional() }),
  }),
  z.object({ id: z.string(), status: z.enum(['READY', 'FAILED']) }),
]);

/**
 * Creates a client of the identity provider PortOne V2: `GET /identity-verifications/{id}`.
 * https://developers.portone.io/api/rest-v2/identityVerification
 */
export function portOneIdentityProvider({ url, secret, patience }: PortOneOptions): IdentityProvider {
  return {
    async find(id) {
      // In a URL these are path segments for the current and the parent folder, percent-encoded or not.
      if (id === '.' || id === '..') throw unknown();
      const address = `${url.replace(/\/+$/, '')}/identity-verifications/${encodeURIComponent(id)}`;
      return read(id, await fetchVerification(address, secret, patience));
    },
  };
}

/** Fetches a verification, with retries: the call is safe to repeat. */
async function fetchVerification(address: string, secret: string, policy: Partial<RetryPolicy> = {}): Promise<unknown> {
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
      throw new Error(
        `The identity provider answered ${statusCode}: check IDENTITY_PROVIDER_URL and IDENTITY_PROVIDER_SECRET`,
      );
    }, policy);
  } catch (error) {
    if (error instanceof DomainError) throw error;
    throw unavailable(error);
  }
}

function read(id: string, answer: unknown): VerifiedPerson {
  const { success, data: verification, error } = identityVerification.safeParse(answer);
  if (!success) throw unavailable(new Error(`The identity provider sent an unexpected response, at: ${paths(error)}`));
  if (verification.id !== id) throw unavailable(new Error('The identity provider returned another verification'));
  if (verification.status !== 'VERIFIED') throw notVerified(verification.status);
  const { ci } = verification.verifiedCustomer;
  if (!ci) {
    throw new DomainError(
      'identity-without-ci',
      'This kind of verification has no CI and so identifies no person',
      'unprocessable',
    );
  }
  return { ci };
}

/** Returns the paths of invalid fields, without their values, which may be personal data. */
const paths = (error: z.ZodError): string => error.issues.map(({ path }) => path.join('.') || 'root').join(', ');

function unknown(): DomainError {
  return new DomainError(
    'identity-verification-unknown',
    'Identity verification not found at the identity provider',
    'unprocessable',
  );
}

function notVerified(status: 'READY' | 'FAILED'): DomainError {
  const message = `The identity verification ${status === 'FAILED' ? 'failed' : 'is not completed yet'}`;
  return new DomainError('identity-not-verified', message, 'unprocessable');
}

function unavailable(cause: unknown): DependencyUnavailable {
  const retryAfterSeconds = cause instanceof RetryableError ? cause.retryAfterSeconds : undefined;
  return new DependencyUnavailable('identity-provider-unavailable', 'The identity provider is unavailable: try again', {
    cause,
    ...(retryAfterSeconds && { retryAfterSeconds }),
  });
}
