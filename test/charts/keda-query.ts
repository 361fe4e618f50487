import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../support/stack.ts';

/** What KEDA asks the database, from the template that the charts make it of. */
export function kedaQuery(waits: 'outbox' | 'relayed', given: { system: string; limit: number }): string {
  const templates = readFileSync(join(root, 'charts/common/templates/_keda.tpl'), 'utf8');
  const [, query] = new RegExp(`define "common.keda.${waits}" -}}\\n(.*?)\\n{{- end`, 's').exec(templates)!;
  return query!
    .replaceAll('{{ .system }}', given.system)
    .replaceAll('{{ .limit }}', `${given.limit}`)
    .replaceAll('\n', ' ');
}
