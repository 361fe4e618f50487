import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { v7 as uuid } from 'uuid';
import { externalData, readEnvelope } from '#eventing/cloud-event';
import { asyncApi, type Contract, dataSchema, type Published, published } from '#eventing/contract';
import { allContractFiles, contracts } from '../docs/contracts.ts';

const read = (path: string) => readFileSync(join(import.meta.dirname, '..', path), 'utf8');

test.each(Object.keys(allContractFiles()))('%s is made of today’s contract: npm run contract', (path) => {
  expect(read(path)).toBe(allContractFiles()[path]);
});

describe.each(Object.entries(contracts))('The contract in %s', (folder, contract) => {
  test('still holds all that was ever published', () => {
    const before = JSON.parse(read(`${folder}/published.json`)) as Published;
    expect(Object.keys(contract.data.shape)).toEqual(before.fields);
    for (const [type, attributes] of Object.entries(before.eventTypes)) {
      expect(Object.keys(contract.eventTypes)).toContain(type);
      expect(contract.eventTypes[type]).toEqual(expect.arrayContaining([...attributes]));
    }
  });

  test('is an AsyncAPI 3.0 document', () => {
    const schema = JSON.parse(read('node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json'));
    const isDocument = new Ajv({ strict: false, validateFormats: false }).compile(schema);
    expect([isDocument(asyncApi(contract)), isDocument.errors]).toEqual([true, null]);
    expect(isDocument({ ...asyncApi(contract), channels: [] })).toBe(false);
  });

  test('holds no value, whatever was said in the system itself', () => {
    const isData = new Ajv2020({ strict: false, validateFormats: false }).compile(dataSchema(contract));
    const types = Object.keys(contract.eventTypes);
    const secret = fc.string().map((value) => `secret: ${value}`);
    const name = fc.string({ minLength: 1 }).filter((it) => it !== '__proto__' && !it.includes('secret'));
    const said = fc.record(
      { attributes: fc.dictionary(name, secret), reason: secret },
      { requiredKeys: ['attributes'] },
    );
    fc.assert(
      fc.property(fc.constantFrom(...types), said, (type, data) => {
        const told = externalData(contract.system, internalEvent(contract, type, data));
        expect([isData(told), isData.errors]).toEqual([true, null]);
        expect(JSON.stringify(told)).not.toContain('secret');
        expect(told.attributeTypes).toEqual(Object.keys(data.attributes).sort());
      }),
    );
  });
});

test('what was published is only added to', () => {
  const contract = contracts['services/member/contract']!;
  const before = { fields: ['a'], eventTypes: { 'member.registered': ['once'], 'member.gone': ['x'] } };
  const after = published(contract, before);
  expect(after.fields).toEqual(['a']);
  expect(after.eventTypes['member.registered']).toEqual(['email', 'name', 'once']);
  expect(after.eventTypes['member.gone']).toEqual(['x']);
});

function internalEvent({ system }: Contract, type: string, data: object) {
  const id = uuid();
  const time = '2026-07-01T09:00:00.000Z';
  const source = `/${system.name}`;
  return readEnvelope({ specversion: '1.0', id, eventid: id, type, source, subject: id, sequence: '1', time, data });
}
