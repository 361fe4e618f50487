import { externalBroadcaster as broadcaster } from '../../../../services/member/consumers.ts';
import { contract } from '../../../../services/member/contract/contract.ts';
import { Member } from '../../../../services/member/domain/member.ts';
import { expectNoValues } from '../../../support/broadcast.ts';
import { openMemberSystem } from '../support.ts';

test('external member messages hold no value, reason or requester, not even encrypted', async () => {
  await using system = await openMemberSystem();
  const { id } = await system.register();
  await expectNoValues({ contract, system, broadcaster, entity: (em) => em.findOneOrFail(Member, id) });
});
