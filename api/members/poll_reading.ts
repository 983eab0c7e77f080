// Owns what one poll finds: retries first, then news of the member's partitions in turn; and a lease's messages again.
// Refuses to own reading the log (lease_reader.ts), moving positions and making leases (member.ts).
// Invariant: what was found is left out when its partition was taken away, paused or positioned anew while it was read.
import type { DecodedRecord } from "../../storage/format/decode.ts";
import type { AnswerHold } from "../answer_budget.ts";
import type { ConsumerQuota } from "../quota/consumer_quota.ts";
import { contentBytes } from "../record_reader.ts";
import type { HeldPartition } from "../stream/held_partition.ts";
import type { Session } from "../stream/session.ts";
import { AnswerRoom, type Found, type LeaseReader, type Portion } from "./lease_reader.ts";
import type { Lease, LeasedRetry } from "./leases.ts";
import type { PolledRetries } from "./retries.ts";

export interface PollReadingOptions {
  readonly session: Session;
  readonly retries: PolledRetries;
  readonly reader: LeaseReader;
  /** Its position is no place of the log. */
  readonly onOutOfRange: (held: HeldPartition) => void;
}

/** What a poll is answered with when it is not answered again. */
export interface News {
  readonly found: readonly Found[];
  readonly retries: readonly Portion[];
}

export class PollReading {
  readonly #options: PollReadingOptions;
  #turn = 0;

  constructor(options: PollReadingOptions) {
    this.#options = options;
  }

  /** Within `room`, which shrinks by it. Errors: those of TakeRetries and of fetch. */
  async news(room: AnswerRoom, quota: ConsumerQuota): Promise<News> {
    const { session } = this.#options;
    const retries = session.groupPaused ? [] : await this.#options.retries.read(room);
    const found = await this.#readNew(room, { retries, quota });
    return { found, retries };
  }

  /** What the lease holds, once more; `open` are those of its retries that are still in hand. */
  async again(
    lease: Lease,
    open: readonly LeasedRetry[],
    hold: AnswerHold,
  ): Promise<readonly Portion[]> {
    const { reader, retries } = this.#options;
    const portions: Portion[] = [];
    let bytes = 0;
    const cover = (record: DecodedRecord) => hold.cover(bytes += contentBytes(record));
    for (const { offset, attempt, topic, partition } of open) {
      const at = { topic, partition };
      const record = await reader.readOne(at, offset, new AnswerRoom(1, Infinity));
      if (record === null) continue;
      cover(record);
      portions.push({ ...at, records: [record], attempt });
    }
    const again = await retries.withoutNacked(await reader.readAgain(lease.ranges, cover));
    return [...portions, ...again];
  }

  /** Partitions that are to be read on, as far as the group has let on. */
  readable(): (HeldPartition & { readonly position: number })[] {
    return [...this.#options.session.assigned()].filter(({ retriesKnown, heldUp }) =>
      retriesKnown && !heldUp
    );
  }

  /** Something of every partition in turn, another one first each time. A fault counts only when nothing else is found. */
  async #readNew(
    room: AnswerRoom,
    { retries, quota }: { retries: readonly Portion[]; quota: ConsumerQuota },
  ): Promise<readonly Found[]> {
    const { session, reader, onOutOfRange } = this.#options;
    if (session.groupPaused || room.full) return [];
    const all = this.readable().filter(({ topic }) => quota.delayMs(topic) === 0);
    const first = all.length === 0 ? 0 : this.#turn++ % all.length;
    const read = await reader.readNew([...all.slice(first), ...all.slice(0, first)], room);
    for (const held of read.outOfRange) onOutOfRange(held);
    const usable = await this.#usable(read.found);
    if (usable.length + retries.length === 0 && read.fault !== null) throw read.fault;
    return usable;
  }

  async #usable(found: readonly Found[]): Promise<Found[]> {
    const usable: Found[] = [];
    for (const one of found) {
      const left = await this.#options.retries.withoutWaiting(one);
      usable.push(left);
    }
    return usable.filter((one) => this.#isUsable(one));
  }

  /** Reading took time, in which partitions may have been taken away, paused or positioned anew. */
  #isUsable({ held, from }: Found): boolean {
    const { session } = this.#options;
    if (session.groupPaused || !session.holds(held)) return false;
    return held.open && held.position === from && held.retriesKnown && !held.heldUp;
  }
}
