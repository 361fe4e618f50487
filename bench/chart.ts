import { type Group, type Report, type Row, shown } from './report.ts';

export type Theme = 'light' | 'dark';

const colors = {
  light: {
    page: '#ffffff',
    text: '#0f172a',
    muted: '#475569',
    base: '#94a3b8',
    own: '#2563eb',
    peer: '#a855f7',
    aim: '#b45309',
  },
  dark: {
    page: '#0d1117',
    text: '#e6edf3',
    muted: '#9198a1',
    base: '#6e7681',
    own: '#58a6ff',
    peer: '#c084fc',
    aim: '#f0b429',
  },
} as const satisfies Record<Theme, Record<string, string>>;

/** Layout in pixels: names on the left, bars, figures on the right. */
const [WIDTH, NAMES, BARS, ROW, HEAD] = [960, 400, 330, 26, 44];

/** Draws a part's results as bars: one block per group, with the range of the rounds and the aims. @returns SVG */
export function chart(report: Pick<Report, 'part' | 'groups'>, theme: Theme): string {
  const { page, text, muted } = colors[theme];
  const blocks: string[] = [];
  let y = 8;
  for (const group of report.groups) {
    blocks.push(block(group, y, theme));
    y += HEAD + group.rows.length * ROW + 12;
  }
  const summary = report.groups.flatMap(({ unit, rows }) =>
    rows.map((row) => `${row.name}: ${shown(row.median)} ${unit}`),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" role="img" aria-labelledby="t d"
  font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="13">
  <title id="t">Results of the bench: ${escaped(report.part)}</title>
  <desc id="d">${escaped(summary.join('; '))}</desc>
  <style>text { fill: ${text}; dominant-baseline: middle } .muted { fill: ${muted} } .head { font-weight: 600 }</style>
  <rect width="${WIDTH}" height="${y}" fill="${page}"/>
${blocks.join('\n')}
</svg>
`;
}

function block(group: Group, y: number, theme: Theme): string {
  const base = group.rows.find(({ name }) => name === group.base);
  const aims = group.rows.map(({ aim }) => (aim ?? 0) * (base?.median ?? 1));
  const largest = Math.max(...group.rows.map(({ max }) => max), ...aims) || 1;
  const scale = (value: number) => Number(((value / largest) * BARS).toFixed(1));
  const rows = group.rows.map((row, index) =>
    bar(row, { y: y + HEAD + index * ROW, scale, theme, base, fill: fillOf(group, row, theme) }),
  );
  const unit = escaped(group.base ? `${group.unit}; ratio to ${group.base}` : group.unit);
  const title = `<tspan class="head">${escaped(group.title)}</tspan><tspan class="muted">  ${unit}</tspan>`;
  return `  <text x="12" y="${y + HEAD / 2}">${title}</text>\n${rows.join('\n')}`;
}

const fillOf = ({ base, peers }: Group, { name }: Row, theme: Theme): string =>
  colors[theme][name === base ? 'base' : peers?.includes(name) ? 'peer' : 'own'];

interface Place {
  readonly y: number;
  readonly scale: (value: number) => number;
  readonly theme: Theme;
  readonly base: Row | undefined;
  readonly fill: string;
}

function bar({ name, median, min, max, ratio, aim }: Row, { y, scale, theme, base, fill }: Place): string {
  const { muted, aim: aimColor } = colors[theme];
  const middle = y + ROW / 2;
  const at = (value: number) => NAMES + scale(value);
  const range = min < max ? `<path d="M${at(min)} ${middle}H${at(max)}" stroke="${muted}" stroke-width="1.5"/>` : '';
  const goal =
    aim !== undefined
      ? `<path d="M${at(aim * (base?.median ?? 1))} ${y + 2}v${ROW - 4}" stroke="${aimColor}" stroke-width="2"/>`
      : '';
  const isBase = name === base?.name;
  const goalText = aim === undefined ? '' : `  (aim ${aim})`;
  const ratios = ratio === undefined || isBase ? goalText : `  ×${ratio.toFixed(2)}${goalText}`;
  return `  <g>
    <text x="${NAMES - 8}" y="${middle}" text-anchor="end">${escaped(name)}</text>
    <rect x="${NAMES}" y="${y + 5}" width="${scale(median)}" height="${ROW - 10}" rx="2" fill="${fill}"/>${range}${goal}
    <text x="${NAMES + BARS + 12}" y="${middle}">${shown(median)}<tspan class="muted">${ratios}</tspan></text>
  </g>`;
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
