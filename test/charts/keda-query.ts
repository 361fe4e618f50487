import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../support/stack.ts';

/** Returns KEDA's SQL query, rendered from the charts' template. */
export function kedaQuery(table: 'outbox' | 'relayed', given: { system: string; limit: number }): string {
  const templates = readFileSync(join(root, 'charts/common/templates/_keda.tpl'), 'utf8');
  const [, query] = new RegExp(`define "common.keda.${table}" -}}\\n(.*?)\\n{{- end`, 's').exec(templates)!;
  return query!
    .replaceAll('{{ .system }}', given.system)
    .replaceAll('{{ .limit }}', `${given.limit}`)
    .replaceAll('\n', ' ');
}
