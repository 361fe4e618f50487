import { externalBroadcaster as broadcaster } from '../../../../services/family-account/consumers.ts';
import { contract } from '../../../../services/family-account/contract/contract.ts';
import { FamilyAccount } from '../../../../services/family-account/domain/family-account.ts';
import { expectNoValues } from '../../../support/broadcast.ts';
import { openFamilyAccountSystem } from '../support.ts';

test('external family-account messages hold no value, reason or requester, not even encrypted', async () => {
  await using system = await openFamilyAccountSystem();
  const { id } = await system.family();
  await expectNoValues({ contract, system, broadcaster, entity: (em) => em.findOneOrFail(FamilyAccount, id) });
});
