import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { z } from 'zod';
import { asyncApi, type Contract, extendPublished, messageOf, type Published, violations } from '#eventing/contract';
import { allContractFiles, contracts } from '../docs/contracts.ts';

const read = (path: string) => readFileSync(join(import.meta.dirname, '..', path), 'utf8');

test.each(Object.keys(allContractFiles()))('%s matches the contract (else run npm run contract)', (path) => {
  expect(read(path)).toBe(allContractFiles()[path]);
});

describe.each(Object.entries(contracts))('The contract in %s', (folder, contract) => {
  const before = JSON.parse(read(`${folder}/published.json`)) as Published;

  test('still contains everything that was published', () => {
    expect(violations(contract, before)).toEqual([]);
  });

  test('may gain event types and attribute types', () => {
    const [type] = Object.keys(contract.eventTypes) as [string];
    const more = { ...contract.eventTypes, [type]: [...contract.eventTypes[type]!, 'nickname'], 'lamp.lit': [] };
    expect(violations(withTypes(contract, more), before)).toEqual([]);
  });

  describe('reports a breach with its remedy:', () => {
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
      ['a field is removed', 'message.properties.data.required', { data: without('occurredAt') }],
      [
        'a field becomes optional',
        'message.properties.data.required',
        { data: data.partial({ attributeTypes: true } as never) },
      ],
      [
        'a field changes its format',
        `message.properties.data.properties.${id}.format`,
        { data: data.extend({ [id]: z.string() }) },
      ],
      ['unknown fields are allowed', 'message.properties.data.additionalProperties', { data: data.loose() }],
      ['the source changes', 'message.properties.source.const', { system: { ...system, name: 'lamp' } }],
      ['the topic changes', 'topic', { system: { ...system, name: 'lamp' } }],
    ])('%s', (_, path, change) => {
      const message = `${path} differs from what was published: restore it. Types may be added, fields never; another form needs a new topic.`;
      expect(violations({ ...contract, ...change }, before)).toContain(message);
    });

    test('an event type or an attribute type is removed', () => {
      const remaining = Object.fromEntries(types.map((it) => [it, contract.eventTypes[it]!]));
      const eventRemoved = `${type} was published: restore it, even if it is never emitted again.`;
      expect(violations(withTypes(contract, remaining), before)).toEqual([eventRemoved]);
      const [attribute, ...attributes] = contract.eventTypes[type]!;
      const attributeRemoved = `${attribute} of ${type} was published: restore it, even if it never changes again.`;
      expect(violations({ ...contract, eventTypes: { ...contract.eventTypes, [type]: attributes } }, before)).toEqual([
        attributeRemoved,
      ]);
    });

    test.each(Object.keys(messageOf(contract).shape))('the envelope gains %s', (attribute) => {
      const { [attribute]: _, ...properties } = before.message.properties as Record<string, unknown>;
      const message = expect.stringMatching(`^message\\.properties\\.${attribute} differs from what was published`);
      expect(violations(contract, { ...before, message: { ...before.message, properties } })).toContainEqual(message);
    });
  });

  test('is a valid AsyncAPI 3.0 document', () => {
    const schema = JSON.parse(read('node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json'));
    const isDocument = new Ajv({ strict: false, validateFormats: false }).compile(schema);
    expect([isDocument(asyncApi(contract)), isDocument.errors]).toEqual([true, null]);
    expect(isDocument({ ...asyncApi(contract), channels: [] })).toBe(false);
  });
});

test('the published form only gains event and attribute types', () => {
  const contract = contracts['services/member/contract']!;
  const { eventTypes: _, ...form } = extendPublished(contract, undefined);
  const before = { ...form, topic: 'elsewhere', eventTypes: { 'member.registered': ['once'], 'member.gone': ['x'] } };
  const after = extendPublished(contract, before);
  expect(after.topic).toBe('elsewhere');
  expect(after.eventTypes['member.registered']).toEqual(['email', 'name', 'once']);
  expect(after.eventTypes['member.gone']).toEqual(['x']);
});

/** Returns a contract whose schema lists these event types, as the real contracts do. */
function withTypes(contract: Contract, eventTypes: Contract['eventTypes']): Contract {
  const [, others] = (contract.data.shape.eventType as z.ZodUnion).options;
  const eventType = z.union([z.enum(Object.keys(eventTypes)), others!]);
  return { ...contract, eventTypes, data: contract.data.extend({ eventType }) };
}
