// Owns commits on their way to the broker: one frame at a time, what gathers meanwhile goes with the next.
// Refuses to own what may be committed (consumer.ts) and the socket.
// Invariant: a promise settles once: when the broker has confirmed an offset at least as high, has refused it, or the
// partition is gone.
import type { Cancel } from "../../storage/ports.ts";
import { backoffMs, type BackoffPolicy } from "./backoff.ts";
import { WaybillError } from "./errors.ts";
import type { ClientFrame, CommitOffset, ErrorFrame } from "./frames.ts";
import type { HandedAgain, PartitionState } from "./partition_state.ts";
import type { ClientPorts } from "./ports.ts";

/** Partitions in one frame; the broker takes ten times as many. */
const MAX_OFFSETS_PER_FRAME = 1_000;
/** Redelivered messages in one frame; the broker takes twice as many of one partition. */
const MAX_SETTLES_PER_FRAME = 5_000;

export interface CommitItem {
  readonly state: PartitionState;
  readonly offset: number;
  /** The redelivery that is done with it; null when that is of a connection that is gone, or settled. */
  readonly again?: HandedAgain | null | undefined;
}

interface Waiter extends CommitItem {
  readonly resolve: () => void;
  readonly reject: (error: WaybillError) => void;
  /** Monotonic, ms. */
  readonly deadline: number;
}

export interface CommitQueueOptions {
  readonly ports: Pick<ClientPorts, "clock" | "timers" | "randomness">;
  readonly timeoutMs: number;
  readonly backoff: BackoffPolicy;
  /** False when it cannot be sent now; `flush` is called when it can. */
  readonly send: (frame: ClientFrame) => boolean;
  readonly onCommitted: (
    state: PartitionState,
    offset: number,
    settles: ReadonlySet<number>,
  ) => void;
  /** A partition that was to be given up is another member's already. */
  readonly onTaken: (state: PartitionState) => void;
}

/** What one frame says of a partition. */
interface Item {
  offset: number;
  /** The highest of new messages that somebody waits for: it may be below what is committed. */
  told: number;
  readonly done: Set<HandedAgain>;
  readonly settles: Set<number>;
}

type Items = ReadonlyMap<PartitionState, Item>;

export class CommitQueue {
  readonly #options: CommitQueueOptions;
  #waiting: Waiter[] = [];
  #onTheirWay: { readonly id: number; readonly waiters: Waiter[]; readonly items: Items } | null =
    null;
  #nextId = 1;
  #attempt = 0;
  /** After a refusal that may pass; a frame then holds one partition, so that none spoils the others. */
  #oneByOne = 0;
  #flushQueued = false;
  #cancelRetry: Cancel | null = null;
  #cancelSweep: Cancel | null = null;
  #idleListeners: (() => void)[] = [];

  constructor(options: CommitQueueOptions) {
    this.#options = options;
  }

  /** Nothing waits for an answer. */
  get idle(): boolean {
    return this.#waiting.length === 0 && this.#onTheirWay === null;
  }

  /** Calls back once, when nothing waits for an answer any more. */
  whenIdle(listener: () => void): void {
    if (this.idle) listener();
    else this.#idleListeners.push(listener);
  }

  /** Resolves when the broker has confirmed it. TIMEOUT, NOT_ASSIGNED, and the broker's own codes. */
  commit(item: CommitItem): Promise<void> {
    return new Promise((resolve, reject) => {
      const { clock } = this.#options.ports;
      const deadline = clock.monotonic() + this.#options.timeoutMs;
      this.#waiting.push({ ...item, resolve, reject, deadline });
      this.#sweepLater();
      this.#flushSoon();
    });
  }

  /** The broker's `committed`. */
  confirmed(id: unknown): void {
    const answered = this.#take(id);
    if (answered === null) return;
    this.#attempt = 0;
    this.#oneByOne = Math.max(0, this.#oneByOne - 1);
    for (const [state, { offset, settles }] of answered.items) {
      this.#options.onCommitted(state, offset, settles);
    }
    for (const waiter of answered.waiters) waiter.resolve();
    this.flush();
  }

  /** The broker's `error` for a commit; false when it is about something else. */
  refused(frame: ErrorFrame): boolean {
    const answered = this.#take(frame.id)?.waiters;
    if (answered === undefined) return false;
    const error = new WaybillError(frame.code, frame.detail, {
      retryable: frame.retryable,
      details: frame,
    });
    const states = new Set(answered.map(({ state }) => state));
    if (frame.retryable) {
      this.#waiting.unshift(...answered);
      this.#retryLater();
    } else if (states.size > 1) {
      this.#waiting.unshift(...answered);
      this.#oneByOne = states.size;
      this.flush();
    } else {
      this.#reject(answered, error);
    }
    return true;
  }

  /** The connection is gone; what was on its way may or may not have arrived: committing it again does no harm. */
  disconnected(): void {
    if (this.#onTheirWay !== null) this.#waiting.unshift(...this.#onTheirWay.waiters);
    this.#onTheirWay = null;
  }

  /** Partitions are gone: what was to be committed of them cannot be any more. */
  dropGone(): void {
    const isGone = ({ state }: Waiter) => state.gone;
    const gone = this.#waiting.filter(isGone);
    this.#waiting = this.#waiting.filter((waiter) => !isGone(waiter));
    for (const waiter of gone) waiter.reject(notAssigned(waiter.state));
    this.flush();
  }

  /** Fails all that waits. */
  close(error: WaybillError): void {
    this.disconnected();
    for (const waiter of this.#waiting.splice(0)) waiter.reject(error);
    this.#cancelRetry?.();
    this.#cancelSweep?.();
    this.#cancelRetry = this.#cancelSweep = null;
  }

  /** Sends what waits, unless something is on its way. */
  flush(): void {
    // First of all: thousands may wait, and each of them has called this.
    if (this.#onTheirWay !== null || this.#cancelRetry !== null) return;
    this.#resolveDone();
    if (this.#waiting.length === 0) {
      for (const listener of this.#idleListeners.splice(0)) listener();
      return;
    }
    const { items, waiters, rest } = this.#nextFrame();
    if (items.size === 0) return;
    const id = this.#nextId;
    const offsets: CommitOffset[] = [...items].map(([state, { offset, settles }]) => ({
      ...state.toJSON(),
      offset,
      settles: [...settles],
    }));
    if (!this.#options.send({ type: "commit", id, offsets })) return;
    this.#nextId++;
    this.#waiting = rest;
    this.#onTheirWay = { id, waiters, items };
  }

  /** The frame told the highest offset alone: lower ones may be right. All are of one partition. */
  #reject(answered: readonly Waiter[], error: WaybillError): void {
    const told = Math.max(...answered.map(({ offset }) => offset));
    this.#waiting.unshift(...answered.filter(({ offset }) => offset < told));
    for (const waiter of answered) {
      if (waiter.offset === told) waiter.reject(error);
    }
    const { state } = answered[0]!;
    // What the group wanted back was taken when that took too long.
    if (error.code === "STALE_GENERATION" && state.revoking) this.#options.onTaken(state);
    this.flush();
  }

  /** What was settled meanwhile is done; sending it would turn the offset back. */
  #resolveDone(): void {
    const isDone = ({ state, offset, again }: Waiter) =>
      offset <= state.committed && (!again || !state.isOpenAgain(again));
    if (!this.#waiting.some(isDone)) return;
    const done = this.#waiting.filter(isDone);
    this.#waiting = this.#waiting.filter((waiter) => !isDone(waiter));
    for (const waiter of done) waiter.resolve();
  }

  /** Highest offset of each partition, and the redeliveries that are done with it. */
  #nextFrame(): { items: Items; waiters: Waiter[]; rest: Waiter[] } {
    const bound = this.#oneByOne > 0 ? 1 : MAX_OFFSETS_PER_FRAME;
    const items = new Map<PartitionState, Item>();
    const waiters: Waiter[] = [];
    const rest: Waiter[] = [];
    let left = MAX_SETTLES_PER_FRAME;
    for (const waiter of this.#waiting) {
      const { state, offset, again } = waiter;
      const hasRoom = (items.has(state) || items.size < bound) && left > 0;
      if (!hasRoom || state.mustNotPass(offset)) {
        rest.push(waiter);
        continue;
      }
      const item = items.get(state) ??
        { offset: state.committed, told: 0, done: new Set(), settles: new Set() };
      items.set(state, item);
      item.offset = Math.max(item.offset, offset);
      if (again === undefined) item.told = Math.max(item.told, offset);
      else if (again !== null && state.isOpenAgain(again)) {
        item.done.add(again);
        item.settles.add(again.offset);
        left--;
      }
      waiters.push(waiter);
    }
    for (const [state, { told, done, settles }] of items) {
      for (const before of state.redeliveriesDone(told, done)) {
        if (settles.has(before)) continue;
        // The rest goes with a later commit.
        if (left-- > 0) settles.add(before);
      }
    }
    return { items, waiters, rest };
  }

  /** What was called in the same turn of the event loop goes in one frame. */
  #flushSoon(): void {
    if (this.#flushQueued) return;
    this.#flushQueued = true;
    queueMicrotask(() => {
      this.#flushQueued = false;
      this.flush();
    });
  }

  #take(id: unknown): { readonly waiters: Waiter[]; readonly items: Items } | null {
    const onTheirWay = this.#onTheirWay;
    if (onTheirWay === null || onTheirWay.id !== id) return null;
    this.#onTheirWay = null;
    return onTheirWay;
  }

  #retryLater(): void {
    const { ports, backoff } = this.#options;
    this.#attempt++;
    const waitMs = backoffMs({ attempt: this.#attempt }, backoff, ports.randomness);
    this.#cancelRetry = ports.timers.after(waitMs, () => {
      this.#cancelRetry = null;
      this.flush();
    });
  }

  /** One timer for all: what has waited too long is given up. */
  #sweepLater(): void {
    if (this.#cancelSweep !== null) return;
    const { clock, timers } = this.#options.ports;
    this.#cancelSweep = timers.after(this.#options.timeoutMs / 2, () => {
      this.#cancelSweep = null;
      const now = clock.monotonic();
      const isLate = (waiter: Waiter) => waiter.deadline <= now;
      const late = this.#waiting.filter(isLate);
      this.#waiting = this.#waiting.filter((waiter) => !isLate(waiter));
      if (this.#onTheirWay?.waiters.some(isLate)) {
        late.push(...this.#onTheirWay.waiters);
        this.#onTheirWay = null;
      }
      for (const waiter of late) waiter.reject(tooLate(waiter, this.#options.timeoutMs));
      this.flush();
      if (!this.idle) this.#sweepLater();
    });
  }
}

export function notAssigned(state: PartitionState): WaybillError {
  const detail = `${state.key} is no longer assigned to this consumer`;
  return new WaybillError("NOT_ASSIGNED", detail, {
    retryable: false,
    details: { ...state.toJSON() },
  });
}

function tooLate({ state, offset }: Waiter, timeoutMs: number): WaybillError {
  const detail = `the commit of ${offset} in ${state.key} had no answer within ${timeoutMs} ms`;
  return new WaybillError("TIMEOUT", detail, { retryable: true });
}
