import { randomBytes, randomUUID } from 'node:crypto';
import type { Running } from './running.ts';

/** What to try next, for the person who has just started the system. */
export function welcome({ memberUrl, familyAccountUrl }: Running): string[] {
  const json = "-H 'content-type: application/json'";
  const bearer = '-H "authorization: Bearer $TOKEN"';
  // New at each start, so that what is printed can be pasted again; a device that two members share has one of them logged out.
  const [me, device] = [`me-${randomBytes(4).toString('hex')}`, randomUUID()];
  const pick = (name: string): string => `sed 's/.*"${name}":"\\([^"]*\\)".*/\\1/'`;
  return [
    '',
    `member API          ${memberUrl}    documentation and a page to try it: ${memberUrl}/docs`,
    `family-account API  ${familyAccountUrl}    documentation and a page to try it: ${familyAccountUrl}/docs`,
    '',
    'Register, log in, verify your identity (in the sandbox whatever begins with ok- is verified), open a family account, release the verification:',
    `  ID=$(curl -s ${memberUrl}/v1/members ${json} -d '{"email":"${me}@example.com","password":"a long password","name":"Me"}' | ${pick('id')})`,
    `  TOKEN=$(curl -s ${memberUrl}/v1/sessions ${json} -d '{"email":"${me}@example.com","password":"a long password","device":{"id":"${device}","name":"phone","os":"any"}}' | ${pick('token')})`,
    `  curl -X PUT ${memberUrl}/v1/members/$ID/identity-verification ${bearer} ${json} -d '{"identityVerificationId":"ok-${me}"}'`,
    `  curl ${familyAccountUrl}/v1/family-accounts ${bearer} ${json} -d '{"name":"Home"}'`,
    `  curl -X DELETE ${memberUrl}/v1/members/$ID/identity-verification ${bearer} ${json} -d '{"reason":"to see what happens"}'`,
    `  curl ${familyAccountUrl}/v1/family-accounts ${bearer}`,
    '',
    'npm run story plays the story again; npm run stack lists the processes, and npm run stack -- kill member-relay kills one.',
    'Ctrl-C stops everything.',
  ];
}
