import { z } from 'zod';
import { text, timestamp, uuid, wholeNumber } from '#service/schema';
import type { LoginRecord } from '../domain/login-record.ts';
import type { Member } from '../domain/member.ts';
import type { Session } from '../domain/session.ts';

export const memberPath = z.strictObject({ id: uuid() });
export const personName = text({ max: 100 });
/** Length is what makes a password strong; whatever else people are made to put in makes them reuse it. */
export const newPassword = text({ min: 8, max: 128, outerSpaces: true });
/** Checked for being right, not for being good: that would tell what the rules were when it was chosen. */
export const password = text({ max: 128, outerSpaces: true });
export const device = z.strictObject({
  id: text({ max: 200 }).describe('Chosen at random by the client and kept on the device'),
  name: text({ max: 100 }).describe('As its user knows it'),
  os: text({ max: 100 }),
});
/** In a path or a query everything is text. */
export const sessionNumber = z
  .string()
  .regex(/^[1-9]\d{0,14}$/, 'is not a session number')
  .transform(Number);
/** How many a list answers at most. */
export const limit = wholeNumber({ min: 1, max: 100 }).default(20);

const ACTIVE = z.literal('ACTIVE');
const verificationStatus = z.enum(['NONE', 'VERIFIED']);
export const identityVerification = z.object({ status: verificationStatus, verifiedAt: timestamp.optional() });

export const memberInFull = z
  .object({
    id: z.uuid(),
    status: ACTIVE,
    email: z.string(),
    name: z.string(),
    identityVerification,
    registeredAt: timestamp,
  })
  .meta({ id: 'Member' });
export const memberForReaders = z
  .object({ id: z.uuid(), status: ACTIVE, identityVerification: z.object({ status: verificationStatus }) })
  .meta({ id: 'MemberForReaders', description: 'What other systems may know' });
export const withdrawnMember = z
  .object({ id: z.uuid(), status: z.literal('WITHDRAWN') })
  .meta({ id: 'WithdrawnMember', description: 'All that is left of a member, for ever' });

export const session = z
  .object({
    number: z.int().meta({ description: 'Of two sessions the later one has the higher number' }),
    memberId: z.uuid(),
    device: z.object({ id: z.string(), name: z.string(), os: z.string() }),
    loggedInAt: timestamp,
    lastSeenAt: timestamp,
    loggedOutAt: timestamp.optional(),
    logoutReason: z.string().optional(),
  })
  .meta({ id: 'Session' });

export const loginRecord = z
  .object({
    id: z.uuid(),
    sessionNumber: z.int(),
    device: z.object({ id: z.string(), name: z.string(), os: z.string() }),
    ip: z.string(),
    userAgent: z.string(),
    at: timestamp,
  })
  .meta({ id: 'LoginRecord' });

/** @param reader whether another system asks, which is told no personal data */
export function showMember(member: Member, { reader = false } = {}): unknown {
  const { id, status } = member;
  if (status === 'WITHDRAWN') return { id, status };
  const { verifiedAt, ...verification } = showVerification(member);
  if (reader) return { id, status, identityVerification: verification };
  const { email, name, registeredAt } = member;
  return { id, status, email, name, registeredAt, identityVerification: { ...verification, verifiedAt } };
}

export function showVerification({ isVerified, identityVerifiedAt }: Member) {
  return isVerified ? { status: 'VERIFIED', verifiedAt: identityVerifiedAt ?? undefined } : { status: 'NONE' };
}

export function showSession({ deviceId, deviceName, deviceOs, ...session }: Session): Record<string, unknown> {
  const { number, memberId, loggedInAt, lastSeenAt, loggedOutAt, logoutReason } = session;
  const shown = { number, memberId, device: { id: deviceId, name: deviceName, os: deviceOs }, loggedInAt, lastSeenAt };
  return { ...shown, ...(loggedOutAt && { loggedOutAt, logoutReason }) };
}

export function showLoginRecord({ eventId, deviceId, deviceName, deviceOs, ...record }: LoginRecord): unknown {
  const { sessionNumber, ip, userAgent, at } = record;
  return { id: eventId, sessionNumber, device: { id: deviceId, name: deviceName, os: deviceOs }, ip, userAgent, at };
}
