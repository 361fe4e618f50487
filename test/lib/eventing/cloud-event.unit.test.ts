import fc from 'fast-check';
import { v7 as uuid } from 'uuid';
import { envelope, externalData, parseEnvelope, readEnvelope } from '#eventing/cloud-event';

const envelopeWith = (change: object = {}) =>
  envelope({
    id: uuid(),
    source: '/lamp',
    type: 'lamp.installed',
    subject: uuid(),
    time: '2026-01-31T09:30:00.000Z',
    eventid: uuid(),
    sequence: '0000000012',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    data: { attributes: { place: 'ciphertext', wattage: 'ciphertext' } },
    ...change,
  });

test('a message is read as sent, without the attributes that Dapr adds', () => {
  const message = envelopeWith();
  const received = JSON.parse(JSON.stringify({ ...message, topic: 'lamp-internal', pubsubname: 'x', tracestate: '' }));
  expect(readEnvelope(received)).toMatchObject({
    messageId: message.id,
    eventId: message.eventid,
    aggregateId: message.subject,
    type: 'lamp.installed',
    source: '/lamp',
    sequence: 12,
    target: 'ALL',
    traceparent: message.traceparent,
  });
});

test('traceid repeats traceparent, since Dapr overwrites traceparent otherwise', () => {
  const { traceid, traceparent } = envelopeWith();
  expect(traceid).toBe(traceparent);
});

test('padded sequences sort as text in numeric order', () => {
  const text = (n: number) => String(n).padStart(10, '0');
  fc.assert(fc.property(fc.nat(), fc.nat(), (a, b) => text(a) < text(b) === a < b));
});

test('an unreadable envelope is refused', () => {
  fc.assert(fc.property(fc.jsonValue(), (body) => expect(() => readEnvelope(body)).toThrow()));
  for (const field of ['id', 'eventid', 'type', 'source', 'subject', 'sequence', 'time']) {
    expect(() => readEnvelope(envelopeWith({ [field]: undefined }))).toThrow();
  }
});

test.each(['traceparent', 'target', 'datacontenttype', 'partitionkey', 'tracestate', 'dataschema'])(
  'an optional attribute that is null is read as absent: %s',
  (name) => {
    const { [name]: _, ...without } = envelopeWith() as unknown as Record<string, unknown>;
    expect(readEnvelope({ ...without, [name]: null })).toEqual(readEnvelope(without));
  },
);

test.each(['id', 'eventid', 'subject', 'source', 'type', 'sequence', 'time', 'specversion'])(
  'a required attribute that is null is refused: %s',
  (name) => {
    expect(() => readEnvelope(envelopeWith({ [name]: null }))).toThrow(name);
  },
);

test('null data is read as null', () => {
  expect(readEnvelope(envelopeWith({ data: null })).data).toBeNull();
});

test.each([
  ['2026-11-29T19:19:32Z', '2026-11-29T19:19:32.000Z'],
  ['2026-11-29t19:19:32z', '2026-11-29T19:19:32.000Z'],
  ['2026-11-29 19:19:32Z', '2026-11-29T19:19:32.000Z'],
  ['2026-11-29T19:19:32.5Z', '2026-11-29T19:19:32.500Z'],
  ['2026-11-29T19:19:32.123456789012Z', '2026-11-29T19:19:32.123Z'],
  ['2026-11-30T04:19:32+09:00', '2026-11-29T19:19:32.000Z'],
  ['2026-11-29T19:19:32-00:00', '2026-11-29T19:19:32.000Z'],
  ['2024-02-29T00:00:00Z', '2024-02-29T00:00:00.000Z'],
  ['2016-12-31T23:59:60Z', '2016-12-31T23:59:59.000Z'],
  ['2017-01-01t08:59:60.25+09:00', '2016-12-31T23:59:59.250Z'],
])('a time of RFC 3339 is read in UTC with milliseconds: %s', (time, utc) => {
  expect(readEnvelope(envelopeWith({ time })).time).toBe(utc);
});

test.each([
  '2026-11-29',
  '2026-11-29T19:19Z',
  '2026-11-29T19:19:32',
  '2026-11-29T19:19:32+0900',
  '2026-11-29T19:19:32.Z',
  '2026-11-29T24:00:00Z',
  '2026-11-29T19:19:61Z',
  '2026-11-29T19:19:32+24:00',
  '2026-02-30T00:00:00Z',
  '0000-01-01T00:00:00+01:00',
  '9999-12-31T23:59:59-01:00',
  'Sun, 29 Nov 2026 19:19:32 GMT',
])('a time that is not RFC 3339 is refused: %s', (time) => {
  expect(() => readEnvelope(envelopeWith({ time }))).toThrow('time');
});

test('ids are read in lower case', () => {
  const message = envelopeWith();
  const { id, eventid, subject } = message;
  const upper = { id: id.toUpperCase(), eventid: eventid.toUpperCase(), subject: subject.toUpperCase() };
  expect(readEnvelope({ ...message, ...upper })).toEqual(readEnvelope(message));
});

test('the case of a source is kept', () => {
  expect(readEnvelope(envelopeWith({ source: '/Lamp' })).source).toBe('/Lamp');
});

test.each([
  ['1', 1],
  ['0000000000000000000000012', 12],
  ['999999999999999', 999_999_999_999_999],
])('a sequence is read with any padding: %s', (sequence, number) => {
  expect(readEnvelope(envelopeWith({ sequence })).sequence).toBe(number);
});

test.each(['', '0', '000', '-1', '1.0', '1e3', ' 1', '0x1', '1000000000000000', 1])(
  'a sequence that is not a positive whole number as text is refused: %s',
  (sequence) => {
    expect(() => readEnvelope(envelopeWith({ sequence }))).toThrow('sequence');
  },
);

test.each(['lamp.설치됨', 'lamp installed'])('a type may be any text: %s', (type) => {
  expect(readEnvelope(envelopeWith({ type })).type).toBe(type);
});

test.each(['', 'a\u0000b', 'a\nb', 'a\ud800b', 'a\uffffb'])(
  'a type that is empty or holds invalid characters is refused: %j',
  (type) => {
    expect(() => readEnvelope(envelopeWith({ type }))).toThrow('type');
  },
);

test('a type has at most 200 characters', () => {
  const type = 'x'.repeat(200);
  expect(readEnvelope(envelopeWith({ type })).type).toBe(type);
  expect(() => readEnvelope(envelopeWith({ type: `${type}x` }))).toThrow('type');
});

test.each([
  ['not ASCII', 'ü'],
  ['a control character', '\u0000'],
  ['too long', 'x'.repeat(201)],
  ['not text', 7],
])('a traceparent that is malformed is read as absent: %s', (_, traceparent) => {
  expect(readEnvelope(envelopeWith({ traceparent })).traceparent).toBeUndefined();
});

describe('The text of a message', () => {
  const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
  const textWith = (data: string) => JSON.stringify(envelopeWith({ data: 0 })).replace('"data":0', `"data":${data}`);

  test('is parsed as JSON', () => {
    const message = envelopeWith();
    expect(parseEnvelope(JSON.stringify(message, undefined, 2))).toEqual(readEnvelope(message));
  });

  test('is accepted up to 100 nested levels, its own object included, and refused beyond', () => {
    expect(parseEnvelope(textWith(nested(99))).data).toEqual(JSON.parse(nested(99)));
    for (const data of [nested(100), nested(5_000), nested(1_000_000), `${'{"a":'.repeat(100)}1${'}'.repeat(100)}`])
      expect(() => parseEnvelope(textWith(data))).toThrow('nested deeper than 100 levels');
  });

  test('may hold any number of brackets side by side or inside strings', () => {
    const text = `"\\[${'[{'.repeat(500)}`;
    const data = [text, { [text]: text }, ...Array.from({ length: 500 }, () => [{}])];
    expect(parseEnvelope(JSON.stringify(envelopeWith({ data }))).data).toEqual(data);
  });

  test('is refused without being quoted in the error when it is not JSON', () => {
    for (const raw of ['', 'a@b.example', '{"email": a@b.example}', '[[', '"\\', ']]]]'])
      expect(() => parseEnvelope(raw)).toThrow(/^the body is not JSON$/);
  });
});

test('an external event has exactly four fields and no attribute value', () => {
  const names = fc.constantFrom('place', 'wattage', 'owner', 'email');
  fc.assert(
    fc.property(fc.dictionary(names, fc.string({ minLength: 12 })), (attributes) => {
      const data = externalData(
        { name: 'lamp', identifier: 'lampId' },
        readEnvelope(envelopeWith({ data: { attributes } })),
      );
      expect(Object.keys(data).sort()).toEqual(['attributeTypes', 'eventType', 'lampId', 'occurredAt']);
      expect(data.attributeTypes).toEqual(Object.keys(attributes).sort());
      for (const value of Object.values(attributes)) expect(Object.values(data).flat()).not.toContain(value);
    }),
  );
});
