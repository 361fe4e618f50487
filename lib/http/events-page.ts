import type Router from '@koa/router';

/** The used parts of an AsyncAPI document, as lib/eventing/contract creates it. */
interface Document {
  readonly info: { readonly title: string; readonly description: string };
  readonly channels: Readonly<Record<string, { readonly address: string }>>;
  readonly components: {
    readonly messages: Readonly<Record<string, { readonly name: string; readonly summary: string }>>;
    readonly schemas: Readonly<Record<'envelope' | 'data', Fields>>;
  };
}

interface Fields {
  readonly properties: Readonly<Record<string, { readonly description?: string; readonly const?: string }>>;
}

/** Allows only resources of this origin, and no scripts. */
const POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'";

const STYLE = `body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem } code { font-size: .9em }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ddd }
`;

/** Adds `/asyncapi.json`, the description of the external events, and `/docs/events`, a page that shows it. */
export function addEventsPage(router: Router, document: object): void {
  const page = render(document as Document);
  router.get('/asyncapi.json', (ctx) => {
    ctx.body = document;
  });
  router.get('/docs/events', (ctx) => {
    ctx.set('Content-Security-Policy', POLICY);
    ctx.type = 'html';
    ctx.body = page;
  });
  router.get('/docs/events.css', (ctx) => {
    ctx.set('Cache-Control', 'max-age=3600');
    ctx.type = 'css';
    ctx.body = STYLE;
  });
}

function render({ info, channels, components: { messages, schemas } }: Document): string {
  const topics = Object.values(channels).map(({ address }) => `<code>${html(address)}</code>`);
  const events = Object.values(messages).map(({ name, summary }) => [name, summary]);
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${html(info.title)}</title>
    <link rel="stylesheet" href="events.css">
    <link rel="icon" type="image/png" href="favicon-32x32.png">
  </head>
  <body>
    <h1>${html(info.title)}</h1>
    <p>${html(info.description)}</p>
    <p>Topic: ${topics.join(', ')}. AsyncAPI document: <a href="../asyncapi.json">asyncapi.json</a>. HTTP API: <a href="./">documentation</a>.</p>
    <h2>Events</h2>
    ${table(['type', ''], events)}
    <h2>Message fields</h2>
    ${table(['field', ''], fieldsOf(schemas.envelope))}
    <h2>Fields of <code>data</code></h2>
    ${table(['field', ''], fieldsOf(schemas.data))}
  </body>
</html>
`;
}

function fieldsOf({ properties }: Fields): string[][] {
  return Object.entries(properties).map(([name, field]) => [name, field.description ?? field.const ?? '']);
}

function table(head: readonly string[], rows: readonly string[][]): string {
  const cells = (row: readonly string[], tag: 'td' | 'th') =>
    row.map((cell, i) => `<${tag}>${i === 0 && tag === 'td' ? `<code>${html(cell)}</code>` : html(cell)}</${tag}>`);
  return `<table>
      <tr>${cells(head, 'th').join('')}</tr>
      ${rows.map((row) => `<tr>${cells(row, 'td').join('')}</tr>`).join('\n      ')}
    </table>`;
}

/** Escapes text for HTML and renders Markdown code spans. */
function html(text: string): string {
  const safe = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
  return safe.replace(/`([^`]+)`/g, '<code>$1</code>');
}
