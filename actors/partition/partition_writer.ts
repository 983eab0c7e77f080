// Owns what is written to one partition: the queue of its one writer, batches and markers in the order they came.
// Refuses to own decisions (decide.ts, decided_write.ts) and the log's life (replica_log.ts).
// Invariant: nothing is acknowledged before the log says it is as durable as the topic asks, unless acks are "none".
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import { setBaseOffset, setLeaderEpoch } from "../../storage/format/record_batch.ts";
import type { Log } from "../../storage/log.ts";
import type { Clock, Crc32c } from "../../storage/ports.ts";
import type { AppendReceipt } from "../broker.ts";
import { GroupCommit } from "../runtime/group_commit.ts";
import type { ByteBudget } from "./byte_budget.ts";
import { type AppendDecision, evolvePartition, type PartitionState } from "./decide.ts";
import { type AppendItem, decideWrite } from "./decided_write.ts";
import type { KeyFence } from "./key_fence.ts";
import type { ReplicaLog } from "./replica_log.ts";
import type { PartitionProducers } from "./partition_producers.ts";
import type { ProducerCensus } from "./producer_census.ts";
import type { MarkerCommand } from "./producer_state.ts";
import { ProducerDraft } from "./producer_table.ts";
import type { KeysTerm, OffsetRange } from "./types.ts";

/** Appends that may wait in one partition's mailbox. */
const MAX_PENDING_APPENDS = 20_000;
/** Bytes that go to the log in one write and sync, unless one append alone has more. */
const MAX_WRITE_BYTES = 1_048_576;
/** What a marker counts as among the bytes that wait for the disk. */
const MARKER_BYTES = 128;

export interface PartitionWriterOptions {
  /** Topic name and number, for messages. */
  readonly name: string;
  readonly clock: Clock;
  readonly crc32c: Crc32c;
  readonly budget: ByteBudget;
  readonly census: ProducerCensus;
}

/** Where it writes to, and whose sequences it checks. */
interface WriterTarget {
  readonly held: ReplicaLog;
  readonly producers: PartitionProducers;
  readonly fence: KeyFence;
}

export interface PartitionAppendOptions {
  readonly acks: "all" | "leader" | "none";
  readonly leaderEpoch?: number;
  /** Of the home of keys that has decided it: STALE_EPOCH when that is over. */
  readonly keysTerm?: KeysTerm;
}

/** An append that is as durable here as the topic asks. */
interface Written {
  readonly decision: Pick<AppendDecision, "baseOffsets" | "duplicates">;
  /** It is acknowledged when the high watermark has reached this, in this epoch. */
  readonly endOffset: number;
  readonly leaderEpoch: number;
}

export class PartitionWriter {
  private readonly appends: GroupCommit<AppendItem, Written>;
  private readonly held: ReplicaLog;
  private readonly producers: PartitionProducers;
  private readonly fence: KeyFence;
  private appended = 0;

  constructor(private readonly options: PartitionWriterOptions, target: WriterTarget) {
    this.held = target.held;
    this.producers = target.producers;
    this.fence = target.fence;
    this.appends = new GroupCommit<AppendItem, Written>({
      name: `partition/${options.name}`,
      maxWaiting: MAX_PENDING_APPENDS,
      // Bytes are bounded over all partitions by the budget.
      maxWaitingBytes: Number.MAX_SAFE_INTEGER,
      maxDrain: MAX_PENDING_APPENDS,
      maxDrainBytes: MAX_WRITE_BYTES,
      run: (items) => this.held.turn.run(() => this.write(items)),
    });
  }

  /** Bytes that went to the log since this partition was opened first. */
  get appendedBytes(): number {
    return this.appended;
  }

  /** Appends that wait and are in no write yet. */
  get waiting(): number {
    return this.appends.waiting;
  }

  /** See Partition. */
  async append(
    batches: readonly Uint8Array[],
    options: PartitionAppendOptions,
  ): Promise<AppendReceipt> {
    const { state } = this.held.online();
    this.held.refuseDamaged();
    let bytes = 0;
    for (const batch of batches) bytes += batch.length;
    const leaderEpoch = options.leaderEpoch ?? state.leaderEpoch;
    if (options.acks === "all") {
      this.held.refuseTooFew();
      const { keysTerm } = options;
      return await this.acknowledged({ batches, leaderEpoch, keysTerm, onAssigned: null }, bytes);
    }
    if (options.acks === "leader") {
      const item = { batches, leaderEpoch, onAssigned: null };
      return this.receiptOf(await this.settled(item, bytes));
    }
    const assigned = Promise.withResolvers<AppendReceipt>();
    const onAssigned = assigned.resolve;
    const written = this.settled({ batches, leaderEpoch, onAssigned }, bytes);
    return await Promise.race([assigned.promise, written.then((each) => this.receiptOf(each))]);
  }

  /** See Partition. */
  async writeMarker(marker: MarkerCommand): Promise<number | null> {
    const { leaderEpoch } = this.held.online().state;
    this.held.refuseDamaged();
    this.held.refuseTooFew();
    const item = { batches: [], leaderEpoch, marker, onAssigned: null };
    const { baseOffsets } = await this.acknowledged(item, MARKER_BYTES);
    return baseOffsets[0] ?? null;
  }

  /** See Partition. */
  async fenceKeys(term: KeysTerm): Promise<OffsetRange> {
    this.held.online();
    // At once: what waits for its turn is decided by it too.
    this.fence.raise(term);
    const { state } = await this.held.turn.run(() => Promise.resolve(this.held.serving()));
    const { name } = this.options;
    try {
      const others = this.held.replicated(state.logEndOffset, state.leaderEpoch);
      if (others !== null) await others;
    } catch (cause) {
      const message = `${name} waits for its in-sync replicas`;
      throw new BrokerError("LEADER_NOT_AVAILABLE", message, {}, { cause });
    }
    return { startOffset: state.logStartOffset, endOffset: state.logEndOffset };
  }

  /** Refuses new appends with `refusal`; resolves when the accepted ones are settled. */
  async finish(refusal: BrokerError): Promise<void> {
    await this.appends.finish(refusal);
  }

  /** Resolves when it is durable here. */
  private settled(item: AppendItem, bytes: number): Promise<Written> {
    return this.options.budget.holding(bytes, () => this.appends.submit(item, bytes));
  }

  /** Resolves when it is durable on every in-sync replica. The bytes that wait for them count as those that wait for the disk. */
  private async acknowledged(item: AppendItem, bytes: number): Promise<AppendReceipt> {
    const written = await this.options.budget.holding(bytes, async () => {
      const written = await this.appends.submit(item, bytes);
      // Null where it is so already, as it is where there is no other replica: no turn of the loop is spent then.
      const others = this.held.replicated(written.endOffset, written.leaderEpoch);
      if (others !== null) await others;
      return written;
    });
    return this.receiptOf(written);
  }

  private async write(items: readonly AppendItem[]): Promise<(Written | BrokerError)[]> {
    this.held.refuseDamaged();
    const { log, state } = this.held.serving();
    const batches: Uint8Array[] = [];
    const { producers } = this;
    const draft = new ProducerDraft(producers);
    const deciding = { ...this.options, producers, draft };
    let working = state;
    const outcomes = items.map((item) => {
      try {
        if (item.keysTerm !== undefined) this.fence.check(item.keysTerm);
        const { decision, written } = decideWrite(working, item, deciding);
        for (const event of decision.events) working = evolvePartition(working, event);
        for (const event of decision.producerEvents) draft.apply(event);
        written.forEach((batch, index) => {
          if (decision.duplicates[index]) return;
          setBaseOffset(batch, 0, decision.baseOffsets[index]!);
          setLeaderEpoch(batch, 0, working.leaderEpoch);
          batches.push(batch);
        });
        item.onAssigned?.(this.receipt(decision, "none"));
        const { logEndOffset: endOffset, leaderEpoch } = working;
        return { decision, endOffset, leaderEpoch };
      } catch (error) {
        const refusal = asBrokerError(error);
        this.options.census.refused(refusal.code);
        return refusal;
      }
    });
    if (batches.length > 0) await this.flush(log, { working, draft }, batches);
    return outcomes;
  }

  private receiptOf({ decision }: Written): AppendReceipt {
    return this.receipt(decision, this.held.durability);
  }

  private async flush(
    log: Log,
    { working, draft }: { working: PartitionState; draft: ProducerDraft },
    batches: Uint8Array[],
  ): Promise<void> {
    try {
      await log.append(batches);
    } catch (error) {
      const failure = asBrokerError(error);
      if (failure.code !== "DISK_FULL") this.held.failed(log, failure);
      throw failure;
    }
    let bytes = 0;
    for (const batch of batches) bytes += batch.length;
    this.appended += bytes;
    this.producers.commit(draft.events, { bytes, logEndOffset: working.logEndOffset });
    this.held.appended(log, working);
  }

  private receipt(
    { baseOffsets, duplicates }: Pick<AppendDecision, "baseOffsets" | "duplicates">,
    durability: AppendReceipt["durability"],
  ): AppendReceipt {
    const { highWatermark, inSyncCount: inSyncReplicas } = this.held.state!;
    return { baseOffsets, duplicates, highWatermark, durability, inSyncReplicas };
  }
}
