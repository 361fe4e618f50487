import { PARTITIONS } from './balance.ts';
import type { OutboxRow } from './reader-queries.ts';

/** Messages per page while nearly all of them are held: without their events they are small. */
const LONG_PAGE = 2_000;

/** Adapts the size of the next page to what the last one had. */
export class PageSize {
  readonly #usual: number;
  #limit: number;
  #activePartitions = PARTITIONS;

  constructor(usual: number) {
    this.#usual = usual;
    this.#limit = usual;
  }

  get limit(): number {
    return this.#limit;
  }

  get isUsual(): boolean {
    return this.#limit === this.#usual;
  }

  /** Limit per partition: every partition has room in a page, and no row is read that does not fit in. */
  get share(): number {
    return Math.ceil(this.#limit / this.#activePartitions);
  }

  /** Whether there may be more after this page. */
  isFull(page: readonly OutboxRow[]): boolean {
    const counts = Map.groupBy(page, ({ partition }) => partition).values();
    return page.length >= this.#limit || counts.some(({ length }) => length >= this.share);
  }

  /** @param usable how many of the page's messages can be sent */
  adapt(page: readonly OutboxRow[], usable: number): void {
    this.#activePartitions = Math.max(1, new Set(page.map(({ partition }) => partition)).size);
    this.#limit = usable * 10 < page.length ? LONG_PAGE : this.#usual;
  }
}
