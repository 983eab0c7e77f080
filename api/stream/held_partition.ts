// Owns what a session knows of one partition it holds: position, what is in flight, what stops it.
// Refuses to own decisions across partitions (session.ts) and reading (reader.ts).
// Invariant: nothing at or above `position` is in flight; a partition is never delivered while anything stops it.
import type { TopicPartition } from "../../actors/broker.ts";
import { OffsetRanges } from "./offset_ranges.ts";

/** `topic/partition`: topic names hold no slash. */
export function partitionKey(at: TopicPartition): string {
  return `${at.topic}/${at.partition}`;
}

/** Where reading starts, as start_offsets.ts finds it. */
export interface StartOffset {
  readonly offset: number;
  /** What the group has committed, null for nothing. */
  readonly committed: number | null;
  readonly highWatermark: number;
  readonly leaderEpoch: number;
  /** Set when what was committed could not be read on from: the offset it was, and the range there is. */
  readonly reset?: {
    readonly committed: number;
    readonly logStartOffset: number;
    readonly highWatermark: number;
  };
}

export class HeldPartition implements TopicPartition {
  readonly topic: string;
  readonly partition: number;
  readonly key: string;
  readonly inFlight = new OffsetRanges();
  /** Next offset to deliver; null until it is known. */
  position: number | null = null;
  /** Highest offset this session knows to be committed. */
  committed: number | null = null;
  highWatermark = 0;
  leaderEpoch = -1;
  /** Told to the client with the next `assigned` frame, once. */
  reset: StartOffset["reset"];
  /** Where reading was when an operator moved the group's offset: what lies between was delivered before that. */
  deliveredBefore: number | null = null;
  /** Asked for by the client. */
  paused = false;
  /** Since when (monotonic ms) the group wants it back: nothing is delivered any more. */
  revokedAt: number | null = null;
  /** Caught up, or trying again later. */
  waiting = false;
  /** False until the group has said what of it waits for a retry. */
  retriesKnown = true;
  /** How reading is held up by what waits for a retry: of the keys that wait, or altogether. */
  hold: "none" | "keys" | "all" = "none";
  /** Of the first message that waits, while something holds up reading. */
  holdFrom = 0;
  /** In its topic, what waits for a retry holds up others. */
  blocks = false;
  /** Offsets not below the position that reading passes over: they come as retries, or are done. */
  readonly skips = new OffsetRanges();
  /** Nacked, but the group has not confirmed it yet. */
  readonly nacking = new Set<number>();
  /** Number of the last nack of which the group has not said yet what it holds up; 0 for none. */
  unheardNack = 0;
  /** While reading is held up by key: messages below this may be delivered, as long as nothing new is held up. */
  admittedTo = 0;
  /** Messages that were sent, those that came again too. */
  sentCount = 0;
  /** Commits and nacks since, one for each message at most: which message a client is at that answers each. */
  answerCount = 0;
  #nackedLast = { offset: -1, sentCount: 0 };

  constructor(at: TopicPartition) {
    this.topic = at.topic;
    this.partition = at.partition;
    this.key = partitionKey(at);
  }

  get revoking(): boolean {
    return this.revokedAt !== null;
  }

  /** Redeliveries may be sent. */
  get open(): boolean {
    return this.position !== null && !this.paused && !this.revoking;
  }

  /** Nothing new is sent, since something waits for a retry, or is about to. */
  get heldUp(): boolean {
    if (this.blocks && (this.nacking.size > 0 || this.unheardNack > 0)) return true;
    return this.hold === "all" && (this.position ?? 0) >= this.holdFrom;
  }

  /** Messages from here on are not to be read for now. */
  get readTo(): number {
    if (this.hold === "all") return this.holdFrom;
    return this.hold === "keys" ? this.admittedTo : Infinity;
  }

  /** There may be something new to send. */
  get ready(): boolean {
    return this.open && !this.waiting && this.retriesKnown && !this.heldUp;
  }

  /** Reading passes over this offset, unless it has done so already. */
  skip(offset: number): void {
    if (this.position === null || offset < this.position || this.skips.has(offset)) return;
    this.skips.add(offset, offset + 1);
  }

  /** A commit of this offset is of a message that was delivered before an operator moved back, and not again since. */
  isOutdated(offset: number): boolean {
    if (this.deliveredBefore === null || this.position === null) return false;
    return offset > this.position && offset <= this.deliveredBefore;
  }

  /** Moves past what is to be passed over. True when something was, now or since the last call. */
  passSkips(): boolean {
    if (this.position === null || this.skips.size === 0) return false;
    const first = this.skips.ranges[0]!;
    if (first.from > this.position) return false;
    if (first.to > this.position) this.position = first.to;
    this.skips.removeBelow(this.position);
    return true;
  }

  /** The client has said something of a message: `offset` was nacked, or (`next`) everything below is done. */
  answered(what: { readonly offset: number } | { readonly next: number }): void {
    const isNack = "offset" in what;
    // To commit past what was just nacked is no second answer.
    const { offset, sentCount } = this.#nackedLast;
    if (!isNack && what.next - 1 === offset && this.sentCount === sentCount) return;
    this.#nackedLast = { offset: isNack ? what.offset : -1, sentCount: this.sentCount };
    this.answerCount = Math.min(this.answerCount + 1, this.sentCount);
  }

  start(at: StartOffset): void {
    this.sentCount = this.answerCount = 0;
    this.#nackedLast = { offset: -1, sentCount: 0 };
    this.hold = "none";
    this.unheardNack = 0;
    this.admittedTo = 0;
    this.skips.removeBelow(Infinity);
    this.position = at.offset;
    this.committed = at.committed;
    this.highWatermark = at.highWatermark;
    this.leaderEpoch = at.leaderEpoch;
    this.reset = at.reset;
  }

  toJSON(): TopicPartition {
    return { topic: this.topic, partition: this.partition };
  }
}
