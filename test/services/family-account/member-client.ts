import type { ServerResponse } from 'node:http';
import { memberClient } from '../../../services/family-account/member-client.ts';
import { answerJson, startFakeDaprd } from './daprd.ts';

export const id = '0198d7a2-0000-7000-8000-000000000001';
export const READER = 'token-of-the-reader';
export const UNAVAILABLE = { name: 'DependencyUnavailable', slug: 'member-api-unavailable', outage: true };
export const LIVE = { wasLive: true };
export type Answer = (response: ServerResponse) => void;
export const json =
  (status: number, body: unknown): Answer =>
  (response) =>
    answerJson(response, status, body);
export const problemAnswer = (status: number, slug: string): Answer =>
  json(status, { type: `urn:problem:${slug}`, status, slug });

/** Opens a member client whose sidecar is a fake that gives the same answer to every call. */
export async function open(
  answer: Answer,
  options: { timeoutMs?: number; maxCalls?: number; maxUnknownCalls?: number; daprApiToken?: string } = {},
) {
  const daprd = await startFakeDaprd((_, response) => answer(response));
  const client = memberClient({
    daprPort: daprd.port,
    daprApiToken: 'token-of-the-sidecar',
    appId: 'member',
    readerToken: READER,
    ...options,
  });
  return {
    daprd,
    client,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      await daprd[Symbol.asyncDispose]();
    },
  };
}
