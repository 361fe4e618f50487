import { accounts, importsOf } from '../../../ops/jetstream/accounts.ts';

test('an app that only publishes imports its topics', () => {
  expect(importsOf('shop', { publishes: ['shop-internal', 'shop-external'], consumes: [] })).toEqual([
    { kind: 'service', subject: 'shop-internal', as: 'shop-internal' },
    { kind: 'service', subject: 'shop-external', as: 'shop-external' },
  ]);
});

test('a consuming app may find, receive and acknowledge for its own durables, not change them', () => {
  const acknowledged = '$JS.ACK.shop-external.mailer-shop-external.>';
  const info = 'CONSUMER.INFO.shop-external.mailer-shop-external';
  expect(importsOf('mailer', { publishes: [], consumes: ['shop-external'] })).toEqual([
    { kind: 'service', subject: '$JS.API.STREAM.NAMES', as: 'events.api.STREAM.NAMES' },
    { kind: 'service', subject: `$JS.API.${info}`, as: `events.api.${info}` },
    { kind: 'service', subject: acknowledged, as: acknowledged },
    { kind: 'stream', subject: 'deliver.mailer-shop-external', as: 'deliver.mailer-shop-external' },
  ]);
});

test('an app without topics is rejected, since NATS takes an empty list for no limit', () => {
  expect(() => importsOf('idle', { publishes: [], consumes: [] })).toThrow('idle neither publishes nor consumes');
});

test.each([
  ['an app has the name of the streams account', [['events', 'a']], 'events'],
  [
    'two apps have the same name',
    [
      ['one', 'a'],
      ['one', 'b'],
    ],
    'one',
  ],
  [
    'two consumers would have the same name',
    [
      ['a-b', 'c'],
      ['a', 'b-c'],
    ],
    'deliver.a-b-c',
  ],
])('accounts are rejected when %s', (_, apps, name) => {
  const users = apps.map(([user, topic]) => ({
    user: user!,
    password: 'a',
    topics: { publishes: [], consumes: [topic!] },
  }));
  expect(() => accounts(users)).toThrow(`duplicate name ${name} at the broker`);
});

test('the block has an account for the streams and one per app, limited to its imports', () => {
  const block = accounts([
    { user: 'admin', password: 'a"b' },
    { user: 'shop', password: 'c', topics: { publishes: ['shop-internal'], consumes: [] } },
    { user: 'mailer', password: 'd', topics: { publishes: [], consumes: ['shop-internal'] } },
    { user: 'printer', password: 'e', topics: { publishes: [], consumes: ['shop-internal'] } },
  ]);
  expect(block).toMatch(/^accounts \{\n/);
  const { events, shop, mailer, ...others } = JSON.parse(block.replace('accounts', ''));
  expect(events).toMatchObject({ jetstream: 'enabled', users: [{ user: 'admin', password: 'a"b' }] });
  expect(events.exports).toHaveLength(8);
  expect(events.exports).toContainEqual({ service: '$JS.API.STREAM.NAMES', accounts: ['mailer', 'printer'] });
  expect(events.exports).toContainEqual({ stream: 'deliver.mailer-shop-internal', accounts: ['mailer'] });
  expect(shop).toEqual({
    users: [
      {
        user: 'shop',
        password: 'c',
        permissions: { publish: { allow: ['shop-internal'] }, subscribe: { allow: ['_INBOX.>'] } },
      },
    ],
    imports: [{ service: { account: 'events', subject: 'shop-internal' } }],
  });
  expect(mailer.imports).toContainEqual({
    service: { account: 'events', subject: '$JS.API.STREAM.NAMES' },
    to: 'events.api.STREAM.NAMES',
  });
  expect(mailer.users[0].permissions.subscribe.allow).toEqual(['_INBOX.>', 'deliver.mailer-shop-internal']);
  expect(Object.keys(others)).toEqual(['printer']);
});
