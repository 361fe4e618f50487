import { importsOf, roomOf } from './imports.ts';

/** docs/architecture.md: the rooms of the code and who imports whom, drawn from the imports themselves. */
export function architecture(): string {
  const arrows = new Set(
    importsOf('services', 'lib')
      .filter(({ to }) => to.startsWith('services/') || to.startsWith('lib/'))
      .map(({ from, to }) => [roomOf(from), roomOf(to)] as const)
      .filter(([from, to]) => from !== to)
      .map(([from, to]) => `  ${node(from)} --> ${node(to)}`),
  );
  return `# Architecture

Drawn from the imports by \`npm run docs\`; \`test/architecture.unit.test.ts\` checks the rules and that this page is current.
An arrow means "imports". Services meet at two doors only: \`#member\` (for member's own workers) and \`#member/contract\` (for everybody).
What travels between them as events is no import, and so not here: see the way of an event in the README.

\`\`\`mermaid
flowchart LR
${[...arrows].sort().join('\n')}
\`\`\`
`;
}

const node = (room: string): string => `${room.replaceAll(/\W/g, '_')}["${room}"]`;
