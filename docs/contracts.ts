import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Contract, contractFiles } from '#eventing/contract';
import { contract as familyAccount } from '../services/family-account/contract/contract.ts';
import { contract as member } from '../services/member/contract/contract.ts';

/** Contracts by folder. */
export const contracts: Readonly<Record<string, Contract>> = {
  'services/member/contract': member,
  'services/family-account/contract': familyAccount,
};

const root = join(import.meta.dirname, '..');

/** Returns the expected contents of the generated files beside each contract, by path. */
export function allContractFiles(): Record<string, string> {
  const all = Object.entries(contracts).flatMap(([folder, contract]) => {
    const read = (name: string) => readFileSync(join(root, folder, name), 'utf8');
    const published = existsSync(join(root, folder, 'published.json')) ? read('published.json') : undefined;
    const files = contractFiles(contract, { 'README.md': read('README.md'), 'published.json': published });
    return Object.entries(files).map(([name, text]) => [`${folder}/${name}`, text] as const);
  });
  return Object.fromEntries(all);
}

/** `npm run contract`: writes the generated files of the contracts. Tests fail while a file is outdated. */
if (import.meta.main)
  for (const [path, text] of Object.entries(allContractFiles())) writeFileSync(join(root, path), text);
