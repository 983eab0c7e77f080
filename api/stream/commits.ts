// Owns the commit frames of one session: in order, one command at a time, many frames in one command.
// Refuses to own what a commit does to the window (window_commits.ts) and whether it is allowed (the group's actor).
// Invariant: every frame gets exactly one answer, in the order of the frames, after its offsets are durable or refused.
import type { Broker } from "../../actors/broker.ts";
import { asBrokerError, BrokerError, type ErrorCode } from "../../storage/broker_error.ts";
import { commitEndOf } from "../commit_end.ts";
import { type CommitFrame, errorFrame, type ServerFrame } from "./frames.ts";
import { partitionKey } from "./held_partition.ts";
import type { StreamLimits } from "./limits.ts";
import type { Session } from "./session.ts";
import type { CommitOrder } from "./window_commits.ts";

/** What is committed by the server itself (autoCommit) has no answer. */
export type PendingCommit = Pick<CommitFrame, "id" | "offsets"> & { readonly silent?: boolean };
type Item = CommitFrame["offsets"][number];
/** `orders`: of its offsets. */
type QueuedCommit = PendingCommit & { readonly orders: readonly CommitOrder[] };
/** Retries that are done with it, by partition. */
type Settled = ReadonlyMap<string, ReadonlySet<number>>;

/** An offset of a commit in memory, beside its metadata. */
const ITEM_BYTES = 128;
const OFFSET_BYTES = 8;

/** Errors after which nobody knows whether a command was carried out. */
const OPEN_OUTCOMES: ReadonlySet<ErrorCode> = new Set([
  "STORAGE_FAILED",
  "ACTOR_DOWN",
  "INTERNAL",
  "SHUTTING_DOWN",
]);

function bytesOf({ offsets }: PendingCommit): number {
  return offsets.reduce(
    (sum, { metadata = "", settles = [] }) =>
      sum + ITEM_BYTES + metadata.length + settles.length * OFFSET_BYTES,
    0,
  );
}

export interface CommitsOptions {
  readonly broker: Pick<Broker, "group" | "partitionInfo">;
  readonly group: string;
  readonly memberId: string;
  readonly principal: string;
  readonly session: Session;
  readonly limits: Pick<StreamLimits, "maxQueuedCommits" | "maxQueuedCommitBytes">;
  readonly answer: (frame: ServerFrame) => void;
  /** Resolves when what was nacked before is durable: a commit must not pass it earlier. */
  readonly nacksSettled: () => Promise<void>;
  /** Something is no longer in flight. */
  readonly onSettled: () => void;
  /** Told beside the answer. */
  readonly onRefused: (commit: PendingCommit, error: BrokerError) => void;
}

export class Commits {
  readonly #options: CommitsOptions;
  readonly #queue: QueuedCommit[] = [];
  #queuedBytes = 0;
  #running: Promise<void> | null = null;

  constructor(options: CommitsOptions) {
    this.#options = options;
  }

  /** Takes a frame in. Throws OVERLOADED when too many wait, STALE_GENERATION for what is not held (any more). */
  push(commit: PendingCommit): void {
    const bytes = bytesOf(commit);
    this.#refuseBeyond(bytes);
    this.#options.session.fence(commit.offsets);
    this.#options.session.fenceOutdated(commit.offsets);
    const orders = commit.offsets.map((item) => this.#options.session.arrived(item));
    this.#queue.push({ ...commit, orders });
    this.#queuedBytes += bytes;
    this.#running ??= this.#run();
  }

  get idle(): boolean {
    return this.#running === null;
  }

  /** Resolves when every frame taken in so far has its answer. Never rejects. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    // What arrived together goes together: the first frame waits for the others that are there already.
    await null;
    try {
      while (this.#queue.length > 0) await this.#commit(this.#takeTogether());
    } finally {
      // In the same turn as the last look at the queue: what is pushed after it must start anew.
      this.#running = null;
    }
  }

  /** As many frames as can be one command: no offset of a partition below one of an earlier frame. */
  #takeTogether(): QueuedCommit[] {
    const highest = new Map<string, number>();
    const fits = ({ offsets }: PendingCommit) =>
      offsets.every((item) => item.offset >= (highest.get(partitionKey(item)) ?? 0));
    let count = 0;
    for (const commit of this.#queue) {
      if (!fits(commit)) break;
      for (const item of commit.offsets) highest.set(partitionKey(item), item.offset);
      count++;
    }
    const taken = this.#queue.splice(0, count);
    for (const commit of taken) this.#queuedBytes -= bytesOf(commit);
    return taken;
  }

  #refuseBeyond(bytes: number): void {
    const { maxQueuedCommits, maxQueuedCommitBytes } = this.#options.limits;
    const { length } = this.#queue;
    const isFull = length >= maxQueuedCommits ||
      (length > 0 && this.#queuedBytes + bytes > maxQueuedCommitBytes);
    if (isFull) {
      throw new BrokerError("OVERLOADED", `${length} commits of this session wait already`);
    }
  }

  async #commit(together: readonly QueuedCommit[]): Promise<void> {
    let settled: Settled;
    try {
      settled = await this.#send(together);
    } catch (error) {
      const refusal = asBrokerError(error);
      // It may have been carried out, and then an earlier one by itself would be taken for a move back.
      const isOpen = OPEN_OUTCOMES.has(refusal.code);
      if (together.length === 1 || isOpen) {
        for (const commit of together) this.#refuse(commit, refusal);
        return;
      }
      // One of them spoils the command for all: each for itself then.
      for (const commit of together) await this.#commit([commit]);
      return;
    }
    for (const commit of together) this.#accept(commit, settled);
    this.#options.onSettled();
  }

  async #send(together: readonly QueuedCommit[]): Promise<Settled> {
    const { broker, group, memberId, principal, session } = this.#options;
    await this.#options.nacksSettled();
    const items = new Map<string, Item>();
    const settled = new Map<string, Set<number>>();
    for (const { offsets, orders } of together) {
      for (const [index, item] of offsets.entries()) {
        const key = partitionKey(item);
        items.set(key, item);
        const before = settled.get(key) ?? new Set<number>();
        settled.set(
          key,
          before.union(new Set(session.settledBy(item, { ...orders[index]!, settled: before }))),
        );
      }
    }
    const offsets = await Promise.all([...items].map(async ([key, item]) => ({
      ...await this.#withEnd(item),
      settles: [...settled.get(key)!],
    })));
    await broker.group({
      type: "CommitOffsets",
      group,
      memberId,
      offsets,
      allowRewind: false,
      principal,
    });
    return settled;
  }

  /** The high watermark as delivery saw it is enough for what was delivered; beyond it one has to look. */
  async #withEnd(item: Item) {
    const { topic, partition, offset, metadata } = item;
    const known = this.#options.session.held.get(partitionKey(item))?.highWatermark ?? 0;
    const endOffset = offset <= known
      ? known
      : await commitEndOf(this.#options.broker, item, offset);
    return { topic, partition, offset, endOffset, ...(metadata === undefined ? {} : { metadata }) };
  }

  #accept({ id, offsets, silent }: PendingCommit, settled: Settled): void {
    const committed = offsets.map((item) => ({
      topic: item.topic,
      partition: item.partition,
      offset: this.#options.session.committed(item, settled.get(partitionKey(item))),
    }));
    if (silent) return;
    const frame = { type: "committed" as const, offsets: committed };
    this.#options.answer(id === undefined ? frame : { ...frame, id });
  }

  #refuse(commit: PendingCommit, error: BrokerError): void {
    if (!commit.silent || !error.retryable) this.#options.answer(errorFrame(error, commit));
    this.#options.onRefused(commit, error);
  }
}
