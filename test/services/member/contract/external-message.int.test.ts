import { externalBroadcaster as broadcaster } from '../../../../services/member/consumers.ts';
import { contract } from '../../../../services/member/contract/contract.ts';
import { Member } from '../../../../services/member/domain/member.ts';
import { tellsNoValue } from '../../broadcast.ts';
import { openMemberSystem } from '../support.ts';

test('no message to others holds a value of the facts of members, not even encrypted, nor why or by whom', async () => {
  await using system = await openMemberSystem();
  const { id } = await system.register();
  await tellsNoValue({ contract, system, broadcaster, carrier: (em) => em.findOneOrFail(Member, id) });
});
