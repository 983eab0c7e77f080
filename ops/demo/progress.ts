// Owns counting a run while it goes on. Refuses to own the proof, which counts anew from the evidence (proof.ts).
// Invariant: figures for show only; nothing is decided by them but when to look and when to stop.
import type { PartitionLag } from "./group_watch.ts";
import type { Receipt } from "./proof.ts";

export interface MemberProgress {
  readonly name: string;
  /** Deliveries, repeats included. */
  readonly received: number;
  readonly state: "running" | "starting" | "killed" | "left";
  readonly partitions: readonly number[];
}

export interface Progress {
  readonly total: number;
  /** Acknowledged flights. */
  readonly published: number;
  /** Acknowledged in the last second. */
  readonly perSecond: number;
  /** Distinct flights that members received. */
  readonly consumed: number;
  readonly members: readonly MemberProgress[];
  readonly lag: readonly PartitionLag[];
  readonly totalLag: number | null;
}

/** Counts receipts. */
export class Tally {
  readonly #byMember = new Map<string, number>();
  readonly #flights = new Set<number>();
  #received = 0;
  #consumedThrough = 0;

  /** Distinct flights. */
  get consumed(): number {
    return this.#flights.size;
  }

  /** Deliveries, repeats included. */
  get received(): number {
    return this.#received;
  }

  /** All flights up to this number were received. */
  get consumedThrough(): number {
    while (this.#flights.has(this.#consumedThrough + 1)) this.#consumedThrough += 1;
    return this.#consumedThrough;
  }

  receivedBy(member: string): number {
    return this.#byMember.get(member) ?? 0;
  }

  add(receipts: readonly Receipt[]): void {
    this.#received += receipts.length;
    for (const { member, value } of receipts) {
      this.#byMember.set(member, this.receivedBy(member) + 1);
      const number = (value as { number?: unknown } | null)?.number;
      if (typeof number === "number") this.#flights.add(number);
    }
  }
}

/** How much a counter rose in the last second. */
export class Speed {
  readonly #samples: { readonly at: number; readonly value: number }[] = [];

  /** `nowMs` is monotonic. Per second. */
  of(value: number, nowMs: number): number {
    this.#samples.push({ at: nowMs, value });
    while (this.#samples.length > 2 && this.#samples[0]!.at < nowMs - 1000) this.#samples.shift();
    const first = this.#samples[0]!;
    return first.at === nowMs ? 0 : (value - first.value) / (nowMs - first.at) * 1000;
  }
}
