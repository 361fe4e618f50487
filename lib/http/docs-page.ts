import { createReadStream } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type Router from '@koa/router';

const assets = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));

/** Allows only resources of this origin, and data URLs for the icons of Swagger UI. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'";

const FILES = { 'swagger-ui.css': 'css', 'swagger-ui-bundle.js': 'js', 'favicon-32x32.png': 'png' };

// A separate file, because the policy forbids inline scripts.
const INIT = `window.onload = () => {
  SwaggerUIBundle({ url: '../openapi.json', dom_id: '#swagger-ui', deepLinking: true, validatorUrl: null, persistAuthorization: false });
};
`;

/** Adds `/docs/`, Swagger UI from the installed package, without requests to other hosts. `/` redirects there. */
export function addDocsPage(router: Router, title: string): void {
  for (const path of ['/', '/docs']) {
    router.get(path, (ctx) => {
      ctx.status = 302;
      ctx.set('Location', 'docs/');
    });
  }
  router.get('/docs/', (ctx) => {
    ctx.set('Content-Security-Policy', POLICY);
    ctx.type = 'html';
    ctx.body = page(title);
  });
  router.get('/docs/init.js', (ctx) => {
    ctx.type = 'js';
    ctx.body = INIT;
  });
  for (const [file, type] of Object.entries(FILES)) {
    router.get(`/docs/${file}`, (ctx) => {
      ctx.set('Cache-Control', 'max-age=3600');
      ctx.type = type;
      ctx.body = createReadStream(join(assets, file));
    });
  }
}

function page(title: string): string {
  const safe = title.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${safe}</title>
    <link rel="stylesheet" href="swagger-ui.css">
    <link rel="icon" type="image/png" href="favicon-32x32.png">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="swagger-ui-bundle.js"></script>
    <script src="init.js"></script>
  </body>
</html>
`;
}
