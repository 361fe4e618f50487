import type { AddressInfo } from 'node:net';
import Router from '@koa/router';
import Koa from 'koa';
import { z } from 'zod';
import { asyncApi } from '#eventing/contract';
import { listen } from '#http/listen';
import { addEventsPage } from '../../../lib/http/events-page.ts';

const document = asyncApi({
  system: { name: 'lamp', identifier: 'lampId' },
  title: 'Lamps <&>',
  data: z.strictObject({ lampId: z.uuid().describe('The `lamp` that it is about') }),
  eventTypes: { 'lamp.lit': ['brightness', 'colour'], 'lamp.removed': [] },
});

let server: Awaited<ReturnType<typeof listen>>;
beforeAll(async () => {
  const router = new Router();
  addEventsPage(router, document);
  const app = new Koa();
  app.use(router.routes());
  server = await listen(app, { port: 0, host: '127.0.0.1' });
});
afterAll(() => server[Symbol.asyncDispose]());

const get = (path: string) => fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`);

test('the document is served unchanged', async () => {
  expect(await (await get('/asyncapi.json')).json()).toEqual(document);
});

test('the page lists events, attributes and fields, and runs no script', async () => {
  const response = await get('/docs/events');
  const page = await response.text();
  expect(page).toContain('<title>Lamps &lt;&amp;></title>');
  expect(page).toContain('<code>lamp-external</code>');
  expect(page).toContain('<td><code>lamp.lit</code></td><td>Attributes that may change: brightness, colour</td>');
  expect(page).toContain('<td><code>lamp.removed</code></td><td>Attributes that may change: none</td>');
  expect(page).toContain('<td><code>lampId</code></td><td>The <code>lamp</code> that it is about</td>');
  expect(page).toMatch(/<td><code>eventid<\/code><\/td><td>Id of the event\./);
  expect(page).not.toMatch(/<script|style=|https?:/);
  expect(response.headers.get('content-security-policy')).not.toContain('script-src');
  expect((await get('/docs/events.css')).headers.get('content-type')).toContain('text/css');
});
