import type { Running } from './running.ts';

/** What to try next, for the person who has just started the system. */
export function welcome({ memberUrl, familyAccountUrl }: Running): string[] {
  const json = "-H 'content-type: application/json'";
  const bearer = '-H "authorization: Bearer $TOKEN"';
  return [
    '',
    `member API          ${memberUrl}    documentation and a page to try it: ${memberUrl}/docs`,
    `family-account API  ${familyAccountUrl}    documentation and a page to try it: ${familyAccountUrl}/docs`,
    '',
    'Register (ID is the id in the answer), log in (TOKEN is the token in the answer), verify your identity, open a family account:',
    `  curl ${memberUrl}/v1/members ${json} -d '{"email":"me@example.com","password":"a long password","name":"Me"}'`,
    `  curl ${memberUrl}/v1/sessions ${json} -d '{"email":"me@example.com","password":"a long password","device":{"id":"my-phone","name":"phone","os":"any"}}'`,
    `  curl -X PUT ${memberUrl}/v1/members/$ID/identity-verification ${bearer} ${json} -d '{"identityVerificationId":"ok-me"}'`,
    `  curl ${familyAccountUrl}/v1/family-accounts ${bearer} ${json} -d '{"name":"Home"}'`,
    '',
    'npm run story plays the story again; npm run stack lists the processes, and npm run stack -- kill member-relay kills one.',
    'Ctrl-C stops everything.',
  ];
}
