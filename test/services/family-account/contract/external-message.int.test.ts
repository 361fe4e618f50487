import { externalBroadcaster as broadcaster } from '../../../../services/family-account/consumers.ts';
import { contract } from '../../../../services/family-account/contract/contract.ts';
import { FamilyAccount } from '../../../../services/family-account/domain/family-account.ts';
import { tellsNoValue } from '../../broadcast.ts';
import { openFamilyAccountSystem } from '../support.ts';

test('no message to others holds a value of the facts of family accounts, not even encrypted, nor why or by whom', async () => {
  await using system = await openFamilyAccountSystem();
  const { id } = await system.family();
  await tellsNoValue({ contract, system, broadcaster, carrier: (em) => em.findOneOrFail(FamilyAccount, id) });
});
