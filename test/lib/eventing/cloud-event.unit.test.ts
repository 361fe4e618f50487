import fc from 'fast-check';
import { v7 as uuid } from 'uuid';
import { envelope, externalData, readEnvelope } from '#eventing/cloud-event';

const sent = (change: object = {}) =>
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

test('a message is read as it was sent, also with what Dapr adds', () => {
  const message = sent();
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

test('Dapr keeps the trace only if it is given twice', () => {
  const { traceid, traceparent } = sent();
  expect(traceid).toBe(traceparent);
});

test('sequences sort as text in the order of their numbers', () => {
  const text = (n: number) => String(n).padStart(10, '0');
  fc.assert(fc.property(fc.nat(), fc.nat(), (a, b) => text(a) < text(b) === a < b));
});

test('what cannot be read is refused, whatever it is', () => {
  fc.assert(fc.property(fc.jsonValue(), (body) => expect(() => readEnvelope(body)).toThrow()));
  for (const field of ['id', 'eventid', 'type', 'source', 'subject', 'sequence', 'time']) {
    expect(() => readEnvelope(sent({ [field]: undefined }))).toThrow();
  }
});

test('no attribute value of any fact is in its external form, whose four fields are closed', () => {
  const names = fc.constantFrom('place', 'wattage', 'owner', 'email');
  fc.assert(
    fc.property(fc.dictionary(names, fc.string({ minLength: 12 })), (attributes) => {
      const data = externalData({ name: 'lamp', identifier: 'lampId' }, readEnvelope(sent({ data: { attributes } })));
      expect(Object.keys(data).sort()).toEqual(['attributeTypes', 'eventType', 'lampId', 'occurredAt']);
      expect(data.attributeTypes).toEqual(Object.keys(attributes).sort());
      for (const value of Object.values(attributes)) expect(Object.values(data).flat()).not.toContain(value);
    }),
  );
});
