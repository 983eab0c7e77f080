// Owns what a consumer knows of one assigned partition: what was received, handed out, settled, asked for again.
// Refuses to own other partitions, sockets and time.
// Invariant: a message is handed out once, but for a redelivery; it is settled when committed past or nacked.
import type { DecodedRecord } from "../../storage/format/decode.ts";
import type { Crc32c } from "../../storage/ports.ts";
import { Fifo } from "./fifo.ts";
import {
  type AssignedPartition,
  type MessagesFrame,
  partitionKey,
  type TopicPartition,
} from "./frames.ts";
import { OpenOffsets } from "./open_offsets.ts";
import { recordsIn } from "./received.ts";

/** Records that were received and wait to be handed out. */
interface Waiting {
  readonly frame: MessagesFrame;
  /** Records below were handed out before. */
  readonly from: number;
  /** But these below are wanted again, each with its attempt: they were nacked, and the broker has forgotten it. */
  readonly again: ReadonlyMap<number, number>;
}

/** Records of one frame, ready to be given to the application. */
export interface HandOut {
  readonly state: PartitionState;
  readonly records: readonly DecodedRecord[];
  readonly attemptOf: (offset: number) => number;
  /** What to commit when all of it is done. */
  readonly nextOffset: number;
  readonly highWatermark: number;
  readonly isRedelivery: boolean;
}

/** One redelivery that was handed out; another of the same message is another one. */
export interface HandedAgain {
  readonly offset: number;
  /** The next new message of then: what lies there, or behind, was handed out later. */
  readonly handed: number;
}

/** Bytes that wait in all partitions together. */
export interface Meter {
  bytes: number;
}

const NONE: ReadonlyMap<number, number> = new Map();

export class PartitionState implements TopicPartition {
  readonly topic: string;
  readonly partition: number;
  readonly key: string;
  /** Next offset that was never received. */
  received: number;
  /** Where the connection of now began to deliver, and how far it has come. */
  startedAt: number;
  delivered: number;
  /** Next offset to give to the application. */
  handed: number;
  /** Below it the application has come back for more. */
  consumed: number;
  /** Below it the broker has confirmed that all is done. */
  committed: number;
  /** The application wants nothing of it for now. */
  paused = false;
  /** The group wants it back: nothing more is handed out. */
  revoking = false;
  /** No longer this consumer's. */
  gone = false;
  highWatermark = 0;
  /** Handed out and not settled. */
  readonly open = new OpenOffsets();
  /** Nacked and not received again, with the attempt that comes next. */
  readonly #nacked = new Map<number, number>();
  /** Nacks that wait until the connection of now has delivered their message. */
  readonly unsentNacks = new Set<number>();
  /** Redeliveries that were handed out in the connection of now, and are not settled, by offset, in order of that. */
  readonly redelivered = new Map<number, HandedAgain>();
  readonly #waiting = new Fifo<Waiting>();

  /** Decoded and not given in full: the application turned away from the partition in between. */
  #rest: HandOut | null = null;
  #waitingBytes = 0;
  readonly #meter: Meter;

  constructor(at: AssignedPartition, meter: Meter) {
    this.topic = at.topic;
    this.partition = at.partition;
    this.key = partitionKey(at);
    this.received =
      this.startedAt =
      this.delivered =
      this.handed =
        at.offset;
    this.consumed = this.committed = at.offset;
    this.#meter = meter;
  }

  /** Bytes of frames that wait. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Something waits to be given. */
  get hasWaiting(): boolean {
    return this.#rest !== null || this.#waiting.length > 0;
  }

  /** Nothing keeps messages from being given. */
  get isOpen(): boolean {
    return !this.paused && !this.revoking && !this.gone;
  }

  /** Everything that was given is settled. */
  get settled(): boolean {
    return this.open.size === 0;
  }

  /** Takes a frame in; what was received before is left out. False when that is all of it. */
  receive(frame: MessagesFrame): boolean {
    const isRedelivery = frame.attempt !== undefined;
    this.highWatermark = Math.max(this.highWatermark, frame.highWatermark);
    if (isRedelivery) {
      // It may come for the first time: then the broker has read on behind it.
      this.delivered = Math.max(this.delivered, frame.offset + 1);
      this.#nacked.delete(frame.offset);
      return this.#keep({ frame, from: frame.offset, again: NONE });
    }
    this.delivered = Math.max(this.delivered, frame.nextOffset);
    const again = this.#takeNacked(frame.offset, Math.min(frame.nextOffset, this.received));
    const from = Math.max(frame.offset, this.received);
    if (frame.nextOffset <= from && again.size === 0) return false;
    this.received = Math.max(this.received, frame.nextOffset);
    return this.#keep({ frame, from, again });
  }

  /**
   * What to give next; null when nothing waits. `give` is to be called for each record that is given, `handedOut` when
   * none is left. CORRUPT_BATCH, UNSUPPORTED_COMPRESSION: then it waits still.
   */
  take(crc32c: Crc32c | null): HandOut | null {
    const rest = this.#rest;
    this.#rest = null;
    if (rest !== null) return rest;
    const waiting = this.#waiting.peek();
    if (waiting === undefined) return null;
    const { frame, from, again } = waiting;
    const first = again.size === 0 ? from : frame.offset;
    const inRange = recordsIn(frame.batches, { from: first, to: frame.nextOffset, crc32c });
    this.#waiting.shift();
    this.#count(-frame.batches.length);
    const attempt = frame.attempt ?? 1;
    return {
      state: this,
      records: again.size === 0
        ? inRange
        : inRange.filter(({ offset }) => offset >= from || again.has(offset)),
      attemptOf: again.size === 0 ? () => attempt : (offset) => again.get(offset) ?? attempt,
      nextOffset: frame.nextOffset,
      highWatermark: frame.highWatermark,
      isRedelivery: frame.attempt !== undefined,
    };
  }

  /** Puts back what was taken and not given. */
  putBack(handOut: HandOut, given: number): void {
    if (this.gone || given >= handOut.records.length) return;
    this.#rest = { ...handOut, records: handOut.records.slice(given) };
  }

  /** The record goes to the application. */
  give(offset: number, handOut: HandOut): void {
    this.open.add(offset);
    if (handOut.isRedelivery) {
      this.redelivered.delete(offset);
      this.redelivered.set(offset, { offset, handed: this.handed });
    } else if (offset >= this.handed) this.handed = offset + 1;
  }

  /** All of it was given. */
  handedOut(handOut: HandOut): void {
    if (!handOut.isRedelivery) this.handed = Math.max(this.handed, handOut.nextOffset);
  }

  /** Puts handed out messages below `offset` down as done, but redeliveries. */
  settleBelow(offset: number): void {
    this.committed = Math.max(this.committed, offset);
    this.open.removeBelow(offset);
    for (const redelivered of this.redelivered.keys()) {
      if (redelivered < offset) this.open.add(redelivered);
    }
  }

  /** Puts redeliveries down as done. */
  settle(redeliveries: Iterable<number>): void {
    for (const offset of redeliveries) {
      if (this.redelivered.delete(offset) && offset < this.committed) this.open.remove(offset);
    }
  }

  /** It was handed out last of its message, and is not settled. */
  isOpenAgain(again: HandedAgain): boolean {
    return this.redelivered.get(again.offset) === again;
  }

  /**
   * Redeliveries that are done when new messages below `told` are, and the redeliveries `done`: those, and what was handed
   * out before any of them and lies below it.
   */
  redeliveriesDone(told: number, done: ReadonlySet<HandedAgain>): number[] {
    const offsets: number[] = [];
    let below = -1;
    for (const again of [...this.redelivered.values()].reverse()) {
      if (done.has(again)) below = Math.max(below, again.offset + 1);
      const isBeforeNew = again.offset < told && again.handed < told;
      if (isBeforeNew || again.offset < below) offsets.push(again.offset);
    }
    return offsets.reverse();
  }

  /** Puts one message down as failed; `attempt` is the one that failed. */
  nack(offset: number, attempt: number): void {
    this.open.remove(offset);
    this.redelivered.delete(offset);
    this.#nacked.set(offset, attempt + 1);
  }

  /** The broker keeps the nack: whatever becomes of the connection, the message comes again. */
  nackKept(offset: number): void {
    this.#nacked.delete(offset);
  }

  /** A new connection goes on for the same member and delivers again from what is committed. */
  reconnected(offset: number): void {
    this.startedAt = this.delivered = offset;
    // The answer to a commit may have been lost with the connection.
    this.settleBelow(offset);
    // A redelivery that was committed past is not the broker's concern any more.
    for (const redelivered of this.redelivered.keys()) {
      if (redelivered < this.committed) this.open.remove(redelivered);
    }
    this.redelivered.clear();
    // The broker takes a nack down before any commit that is sent after it.
    for (const nacked of this.#nacked.keys()) {
      if (nacked < this.committed) this.#nacked.delete(nacked);
    }
  }

  /**
   * Whether a commit of `offset` would make the broker pass over a message that was nacked and that it is about to
   * deliver again, after a lost connection.
   */
  mustNotPass(offset: number): boolean {
    if (this.paused || (this.#nacked.size === 0 && this.unsentNacks.size === 0)) return false;
    for (const nacked of [...this.#nacked.keys(), ...this.unsentNacks]) {
      if (nacked >= this.delivered && nacked < offset) return true;
    }
    return false;
  }

  /** Nacked messages that a commit has passed over before they came again: they will not. */
  takePassedOver(offset: number): number[] {
    const passed = [...this.#nacked.keys()]
      .filter((nacked) => nacked >= this.delivered && nacked < offset);
    for (const nacked of passed) this.#nacked.delete(nacked);
    return passed;
  }

  /** The broker refused the nack: the message is as it was. */
  unnack(offset: number): void {
    if (this.#nacked.delete(offset)) this.open.add(offset);
  }

  /** Forgets what waits, so that it is received again. */
  receiveAgain(): void {
    this.dropWaiting();
    this.received = this.handed;
  }

  /** Starts anew at `offset`: what waited is dropped, what was handed out is forgotten. */
  restart(offset: number): void {
    this.dropWaiting();
    this.open.removeBelow(Infinity);
    this.redelivered.clear();
    this.#nacked.clear();
    this.received =
      this.startedAt =
      this.delivered =
      this.handed =
        offset;
    this.consumed = this.committed = offset;
  }

  dropWaiting(): void {
    this.#rest = null;
    for (
      let waiting = this.#waiting.shift();
      waiting !== undefined;
      waiting = this.#waiting.shift()
    ) {
      this.#count(-waiting.frame.batches.length);
    }
  }

  toJSON(): TopicPartition {
    return { topic: this.topic, partition: this.partition };
  }

  #keep(waiting: Waiting): boolean {
    this.#waiting.push(waiting);
    this.#count(waiting.frame.batches.length);
    return true;
  }

  #count(bytes: number): void {
    this.#waitingBytes += bytes;
    this.#meter.bytes += bytes;
  }

  #takeNacked(from: number, to: number): ReadonlyMap<number, number> {
    if (this.#nacked.size === 0) return NONE;
    const taken = new Map<number, number>();
    for (const [offset, attempt] of this.#nacked) {
      if (offset < from || offset >= to) continue;
      taken.set(offset, attempt);
      this.#nacked.delete(offset);
    }
    return taken;
  }
}
