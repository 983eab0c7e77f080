// Owns committing on behalf of one client that asked for it: what was delivered and has left the socket's buffer.
// Refuses to own the commit itself (commits.ts) and the slow beat (the sweep calls `commit`).
// Invariant: an offset is committed only when every byte up to the end of its frame was flushed.
import type { Cancel, Timers } from "../../storage/ports.ts";
import type { Commits, PendingCommit } from "./commits.ts";
import type { HeldPartition } from "./held_partition.ts";
import type { StreamLimits } from "./limits.ts";
import type { Outbox } from "./outbox.ts";
import type { Session } from "./session.ts";

export interface AutoCommitOptions {
  readonly session: Session;
  readonly outbox: Pick<Outbox, "sentBytes" | "flushedBytes">;
  readonly commits: Commits;
  readonly timers: Timers;
  readonly maxInFlight: number;
  readonly limits: Pick<StreamLimits, "autoCommitMs" | "busyAutoCommitMs">;
}

interface Mark {
  readonly held: HeldPartition;
  readonly nextOffset: number;
  /** The message before it came again, alone. */
  readonly isAgain: boolean;
  /** Bytes sent on the socket when its frame had been handed over. */
  readonly sentBytes: number;
}

export class AutoCommit {
  readonly #options: AutoCommitOptions;
  /** Bounded by the window: no more marks than messages in flight. */
  #marks: Mark[] = [];
  /** Highest flushed offset by partition, until it is committed. */
  readonly #flushed = new Map<HeldPartition, number>();
  /** Flushed messages that came again, until they are settled. */
  readonly #again = new Map<HeldPartition, Set<number>>();
  #cancelSoon: Cancel | null = null;
  /** A client that reads nothing is looked at less and less often, in the end as seldom as the slow beat. */
  #soonMs: number;

  constructor(options: AutoCommitOptions) {
    this.#options = options;
    this.#soonMs = options.limits.busyAutoCommitMs;
  }

  delivered(held: HeldPartition, nextOffset: number): void {
    this.#mark({ held, nextOffset, isAgain: false });
  }

  redelivered(held: HeldPartition, offset: number): void {
    this.#mark({ held, nextOffset: offset + 1, isAgain: true });
  }

  /** Commits what is due, unless a commit is under way. */
  commit(): void {
    const { commits } = this.#options;
    if (!commits.idle) return;
    const offsets = this.#due();
    if (offsets.length > 0) commits.push({ offsets, silent: true });
  }

  stop(): void {
    this.#cancelSoon?.();
    this.#cancelSoon = null;
  }

  /** What has left and is not committed; the same again until it is. */
  #due(): PendingCommit["offsets"] {
    const { outbox, limits } = this.#options;
    const { flushedBytes } = outbox;
    const open = this.#marks.findIndex((mark) => mark.sentBytes > flushedBytes);
    const flushed = this.#marks.splice(0, open < 0 ? this.#marks.length : open);
    for (const mark of flushed) this.#leave(mark);
    if (flushed.length > 0) this.#soonMs = limits.busyAutoCommitMs;
    const offsets: PendingCommit["offsets"] = [];
    for (const held of new Set([...this.#flushed.keys(), ...this.#again.keys()])) {
      this.#forgetDone(held);
      const settles = [...this.#again.get(held) ?? []];
      const flushedTo = this.#flushed.get(held) ?? 0;
      if (flushedTo === 0 && settles.length === 0) continue;
      const to = settles.reduce((end, offset) => Math.max(end, offset + 1), flushedTo);
      offsets.push({ ...held.toJSON(), offset: Math.max(to, held.committed ?? 0), settles });
    }
    return offsets;
  }

  #mark(mark: Omit<Mark, "sentBytes">): void {
    this.#marks.push({ ...mark, sentBytes: this.#options.outbox.sentBytes });
    this.#commitSoon();
  }

  /** It has left. */
  #leave({ held, nextOffset, isAgain }: Mark): void {
    if (!isAgain) return void this.#flushed.set(held, nextOffset);
    const again = this.#again.get(held) ?? new Set();
    this.#again.set(held, again.add(nextOffset - 1));
  }

  #forgetDone(held: HeldPartition): void {
    const { session } = this.#options;
    const isHeld = session.holds(held);
    if (!isHeld || (this.#flushed.get(held) ?? 0) <= (held.committed ?? 0)) {
      this.#flushed.delete(held);
    }
    const again = this.#again.get(held);
    if (again === undefined) return;
    for (const offset of again) {
      if (!session.redeliveries.isInFlight(held.key, offset)) again.delete(offset);
    }
    if (!isHeld || again.size === 0) this.#again.delete(held);
  }

  /** A window that is more than half full is not left to the slow beat. */
  #commitSoon(): void {
    const { session, timers, maxInFlight, limits } = this.#options;
    if (this.#cancelSoon !== null || session.room > maxInFlight / 2) return;
    this.#cancelSoon = timers.after(this.#soonMs, () => {
      this.#cancelSoon = null;
      this.#soonMs = Math.min(this.#soonMs * 2, limits.autoCommitMs);
      this.commit();
      this.#commitSoon();
    });
  }
}
