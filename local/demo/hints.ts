import { randomBytes, randomUUID } from 'node:crypto';
import type { Running } from '../supervisor/running.ts';

/** Returns the lines that `npm start` prints last: the addresses and commands to try next. */
export function welcome({ memberUrl, familyAccountUrl }: Running): string[] {
  const json = "-H 'content-type: application/json'";
  const bearer = '-H "authorization: Bearer $TOKEN"';
  // New at each start, so that the commands can be pasted again. On a device shared by two members, one of them is
  // logged out.
  const [me, device] = [`me-${randomBytes(4).toString('hex')}`, randomUUID()];
  const pick = (name: string): string => `sed 's/.*"${name}":"\\([^"]*\\)".*/\\1/'`;
  return [
    '',
    `member API          ${memberUrl}    API reference with a form to try it: ${memberUrl}/docs`,
    `family-account API  ${familyAccountUrl}    API reference with a form to try it: ${familyAccountUrl}/docs`,
    '',
    'Register, log in, verify your identity (the sandbox accepts every id that begins with ok-), open a family account, release the verification:',
    `  ID=$(curl -s ${memberUrl}/v1/members ${json} -d '{"email":"${me}@example.com","password":"a long password","name":"Me"}' | ${pick('id')})`,
    `  TOKEN=$(curl -s ${memberUrl}/v1/sessions ${json} -d '{"email":"${me}@example.com","password":"a long password","device":{"id":"${device}","name":"phone","os":"any"}}' | ${pick('token')})`,
    `  curl -X PUT ${memberUrl}/v1/members/$ID/identity-verification ${bearer} ${json} -d '{"identityVerificationId":"ok-${me}"}'`,
    `  curl ${familyAccountUrl}/v1/family-accounts ${bearer} ${json} -d '{"name":"Home"}'`,
    `  curl -X DELETE ${memberUrl}/v1/members/$ID/identity-verification ${bearer} ${json} -d '{"reason":"demo"}'`,
    `  curl ${familyAccountUrl}/v1/family-accounts ${bearer}`,
    '',
    'Play the story again: npm run story',
    'List the processes:   npm run stack',
    'Kill a process:       npm run stack -- kill member-relay',
    'Stop everything:      Ctrl-C',
  ];
}
