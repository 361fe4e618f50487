import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { z } from 'zod';
import { asyncApi, broken, type Contract, messageOf, type Published, published } from '#eventing/contract';
import { allContractFiles, contracts } from '../docs/contracts.ts';

const read = (path: string) => readFileSync(join(import.meta.dirname, '..', path), 'utf8');

test.each(Object.keys(allContractFiles()))('%s is made of today’s contract: npm run contract', (path) => {
  expect(read(path)).toBe(allContractFiles()[path]);
});

describe.each(Object.entries(contracts))('The contract in %s', (folder, contract) => {
  const before = JSON.parse(read(`${folder}/published.json`)) as Published;

  test('still holds all that was ever published', () => {
    expect(broken(contract, before)).toEqual([]);
  });

  test('may get more types of events and of attributes', () => {
    const [type] = Object.keys(contract.eventTypes) as [string];
    const more = { ...contract.eventTypes, [type]: [...contract.eventTypes[type]!, 'nickname'], 'lamp.lit': [] };
    expect(broken(withTypes(contract, more), before)).toEqual([]);
  });

  describe('is broken, and it is said what to do,', () => {
    const { system, data } = contract;
    const [type, ...types] = Object.keys(contract.eventTypes) as [string, ...string[]];
    const without = (field: string) =>
      z.strictObject(Object.fromEntries(Object.entries(data.shape).filter(([it]) => it !== field)));
    const id = system.identifier;
    test.each<[string, string, Partial<Contract>]>([
      [
        'a field is added',
        'message.properties.data.properties.email',
        { data: data.extend({ email: z.string().optional() }) },
      ],
      ['a field is taken away', 'message.properties.data.required', { data: without('occurredAt') }],
      [
        'a field may be absent',
        'message.properties.data.required',
        { data: data.partial({ attributeTypes: true } as never) },
      ],
      [
        'a field has another format',
        `message.properties.data.properties.${id}.format`,
        { data: data.extend({ [id]: z.string() }) },
      ],
      ['other fields are let in', 'message.properties.data.additionalProperties', { data: data.loose() }],
      ['they come from elsewhere', 'message.properties.source.const', { system: { ...system, name: 'lamp' } }],
      ['they go elsewhere', 'topic', { system: { ...system, name: 'lamp' } }],
    ])('when %s', (_, path, change) => {
      const sentence = `${path} is not what was published: put it back. Types may be added, fields never; another form is another topic.`;
      expect(broken({ ...contract, ...change }, before)).toContain(sentence);
    });

    test('when an event or an attribute is not listed any more', () => {
      const left = Object.fromEntries(types.map((it) => [it, contract.eventTypes[it]!]));
      const gone = `${type} was published: put it back, if it only is never said again.`;
      expect(broken(withTypes(contract, left), before)).toEqual([gone]);
      const [attribute, ...attributes] = contract.eventTypes[type]!;
      const lost = `${attribute} of ${type} was published: put it back, if it only never changes again.`;
      expect(broken({ ...contract, eventTypes: { ...contract.eventTypes, [type]: attributes } }, before)).toEqual([
        lost,
      ]);
    });

    test.each(Object.keys(messageOf(contract).shape))('when the envelope did not have %s before', (attribute) => {
      const { [attribute]: _, ...properties } = before.message.properties as Record<string, unknown>;
      const sentence = expect.stringMatching(`^message\\.properties\\.${attribute} is not what was published`);
      expect(broken(contract, { ...before, message: { ...before.message, properties } })).toContainEqual(sentence);
    });
  });

  test('is an AsyncAPI 3.0 document', () => {
    const schema = JSON.parse(read('node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json'));
    const isDocument = new Ajv({ strict: false, validateFormats: false }).compile(schema);
    expect([isDocument(asyncApi(contract)), isDocument.errors]).toEqual([true, null]);
    expect(isDocument({ ...asyncApi(contract), channels: [] })).toBe(false);
  });
});

test('what was published is only added to', () => {
  const contract = contracts['services/member/contract']!;
  const { eventTypes: _, ...form } = published(contract, undefined);
  const before = { ...form, topic: 'elsewhere', eventTypes: { 'member.registered': ['once'], 'member.gone': ['x'] } };
  const after = published(contract, before);
  expect(after.topic).toBe('elsewhere');
  expect(after.eventTypes['member.registered']).toEqual(['email', 'name', 'once']);
  expect(after.eventTypes['member.gone']).toEqual(['x']);
});

/** A contract whose schema lists these events, as those that are written do. */
function withTypes(contract: Contract, eventTypes: Contract['eventTypes']): Contract {
  const [, others] = (contract.data.shape.eventType as z.ZodUnion).options;
  const eventType = z.union([z.enum(Object.keys(eventTypes)), others!]);
  return { ...contract, eventTypes, data: contract.data.extend({ eventType }) };
}
