// Owns which transactions are open in a partition, which were aborted, and so what readers may see of it (KIP-98).
// Refuses to own who may append what (producer_state.ts).
// Invariant: folded from the same events as the producers; nothing at or above the last stable offset is decided for all.
import type { AbortedTransaction } from "../../storage/log.ts";
import type { ProducerEvent } from "./producer_state.ts";

/** Aborted transactions that one partition remembers: as many as its log holds, and then no new one may be opened. */
export const MAX_ABORTED = 500_000;
/** Forgotten entries at the front that are worth moving the others for. */
const MIN_CUT = 1_024;
/** Aborted transactions that are passed over at once when none of them begins low enough. */
const BLOCK = 512;

/** What a snapshot keeps. */
export interface TransactionIndexState {
  readonly aborted: readonly AbortedTransaction[];
  /** Ended, but the high watermark may not have passed the marker yet. */
  readonly ended: readonly EndedTransaction[];
}

export interface EndedTransaction {
  readonly firstOffset: number;
  readonly markerOffset: number;
}

export class TransactionIndex {
  /** First offset by producer id; the order is that of the offsets. */
  private readonly open = new Map<number, number>();
  private ended: EndedTransaction[] = [];
  /** By the offset of the marker. */
  private aborted: AbortedTransaction[] = [];
  /** The first of `aborted` that the log still has something of. */
  private firstKept = 0;
  /** Lowest first offset of each `BLOCK` of `aborted`. */
  private lowest: number[] = [];

  get openCount(): number {
    return this.open.size;
  }

  get isFull(): boolean {
    return this.aborted.length - this.firstKept + this.open.size >= MAX_ABORTED;
  }

  apply(event: ProducerEvent): void {
    if (event.type === "ProducerAppended") {
      const { producerId, transactional } = event.batch;
      if (transactional && !this.open.has(producerId)) this.open.set(producerId, event.baseOffset);
      return;
    }
    const { marker: { producerId, commit }, offset } = event;
    const firstOffset = this.open.get(producerId);
    if (firstOffset === undefined) return;
    this.open.delete(producerId);
    this.ended.push({ firstOffset, markerOffset: offset });
    if (!commit) this.addAborted({ producerId, firstOffset, lastOffset: offset });
  }

  /** For an open transaction that a snapshot tells of; in the order of their offsets. */
  restoreOpen(producerId: number, firstOffset: number): void {
    this.open.set(producerId, firstOffset);
  }

  restore({ aborted, ended }: TransactionIndexState): void {
    for (const each of aborted) this.addAborted(each);
    this.ended = [...ended];
  }

  state(): TransactionIndexState {
    return { aborted: this.aborted.slice(this.firstKept), ended: [...this.ended] };
  }

  /** First offset that is not decided for every reader, at most `highWatermark`. */
  lastStableOffset(highWatermark: number): number {
    let lowest = highWatermark;
    for (const firstOffset of this.open.values()) {
      lowest = Math.min(lowest, firstOffset);
      break;
    }
    if (this.ended.length > 0) {
      this.ended = this.ended.filter(({ markerOffset }) => markerOffset >= highWatermark);
      for (const { firstOffset } of this.ended) lowest = Math.min(lowest, firstOffset);
    }
    return lowest;
  }

  /** Aborted transactions that have something in [from, to), by the offset of their markers. */
  abortedWithin(from: number, to: number): AbortedTransaction[] {
    const found: AbortedTransaction[] = [];
    const { aborted, lowest } = this;
    // One that lasted long ends far behind where it began, so all the rest has to be looked at, but not one by one.
    for (let index = this.firstEndingFrom(from); index < aborted.length;) {
      const block = Math.floor(index / BLOCK);
      const end = Math.min((block + 1) * BLOCK, aborted.length);
      if (lowest[block]! < to) {
        for (; index < end; index++) {
          if (aborted[index]!.firstOffset < to) found.push(aborted[index]!);
        }
      }
      index = end;
    }
    return found;
  }

  /** Forgets what lies wholly below the log's start. */
  dropBelow(logStartOffset: number): void {
    this.firstKept = this.firstEndingFrom(logStartOffset);
    if (this.firstKept < MIN_CUT || this.firstKept < this.aborted.length / 2) return;
    const kept = this.aborted.slice(this.firstKept);
    this.aborted = [];
    this.lowest = [];
    this.firstKept = 0;
    for (const each of kept) this.addAborted(each);
  }

  clear(): void {
    this.open.clear();
    this.ended = [];
    this.aborted = [];
    this.firstKept = 0;
    this.lowest = [];
  }

  private addAborted(each: AbortedTransaction): void {
    const block = Math.floor(this.aborted.length / BLOCK);
    this.aborted.push(each);
    this.lowest[block] = Math.min(this.lowest[block] ?? Infinity, each.firstOffset);
  }

  private firstEndingFrom(offset: number): number {
    let low = this.firstKept;
    let high = this.aborted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.aborted[middle]!.lastOffset < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
