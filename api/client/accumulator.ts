// Owns messages that wait to be sent: a queue of chunks for each partition, within one bound of memory.
// Refuses to own sending and retrying (sender.ts) or messages that wait for room (producer.ts).
// Invariant: a partition's messages are in its chunks in the order they were appended; only the last chunk is open.
import type { Cancel } from "../../storage/ports.ts";
import { HEADER_BYTES } from "../../storage/format/record_batch.ts";
import type { BufferPool } from "./buffer_pool.ts";
import { Chunk, type ChunkEnv, type ChunkLimits, largestRecord } from "./chunk.ts";
import type { Owner } from "./delivery.ts";
import type { Identity } from "./identity.ts";
import type { RecordParts } from "./outgoing.ts";
import { recordBound } from "./record_writer.ts";
import type { ClientPorts } from "./ports.ts";

export interface AccumulatorLimits extends ChunkLimits {
  readonly lingerMs: number;
  readonly deliveryTimeoutMs: number;
}

/** "no-room": nothing happened, try again when `onRoom` was called. "too-large": no request can carry it. */
export type Placement = "placed" | "no-room" | "too-large";

/** What waits for one partition. */
export class PartitionQueue {
  readonly chunks: Chunk[] = [];
  /** A request is on its way. */
  inFlight = false;
  /** It stands in the line of partitions to be sent. */
  ready = false;
  /** Waits before the next attempt. */
  backingOff = false;
  /** Largest chunk of late: what the next one is likely to need. */
  likelyBytes = 0;
  /** Under which messages are sent there; null before the first, and when a new one is due. */
  identity: Identity | null = null;
  /** Sequence number of the next message under `identity`. */
  nextSequence = 0;

  constructor(readonly topic: string, readonly partition: number) {}

  get open(): Chunk | null {
    const last = this.chunks[this.chunks.length - 1];
    return last === undefined || last.closed ? null : last;
  }

  /** Something is there and nothing keeps it from being sent but, maybe, the wait for company. */
  get idle(): boolean {
    return !this.inFlight && !this.ready && !this.backingOff && this.chunks.length > 0;
  }
}

export interface AccumulatorEvents {
  /** The head of the partition's queue should be sent now. */
  readonly onReady: (queue: PartitionQueue) => void;
}

export class Accumulator {
  /** Partitions that hold chunks. */
  readonly active = new Set<PartitionQueue>();
  readonly #limits: AccumulatorLimits;
  readonly #pool: BufferPool;
  readonly #ports: ClientPorts;
  readonly #events: AccumulatorEvents;
  readonly #env: ChunkEnv;
  readonly #largestRecordBytes: number;
  /** Open chunks in the order in which their wait ends. Bounded by the memory that chunks take. */
  #lingering: { queue: PartitionQueue; chunk: Chunk }[] = [];
  #cancelLinger: Cancel | null = null;

  constructor(
    limits: AccumulatorLimits,
    pool: BufferPool,
    env: { ports: ClientPorts; events: AccumulatorEvents },
  ) {
    this.#limits = limits;
    this.#pool = pool;
    this.#ports = env.ports;
    this.#events = env.events;
    this.#env = { limits, crc: env.ports.crc };
    this.#largestRecordBytes = largestRecord(limits);
  }

  /** Appends to the partition's open chunk, or to a new one. */
  append(queue: PartitionQueue, parts: RecordParts, owner: Owner): Placement {
    for (;;) {
      if (recordBound(parts) > this.#largestRecordBytes) {
        if (queue.open?.messages === 0) this.closeOpen(queue);
        return "too-large";
      }
      const chunk = queue.open ?? this.#newChunk(queue, parts);
      if (chunk === null) return "no-room";
      const appended = chunk.append(parts, owner, this.#env);
      if (appended === "appended") {
        if (!queue.inFlight && chunk.hasWholeBatch(this.#limits)) this.wake(queue);
        return "placed";
      }
      // Text that proved longer than it looked comes back as bytes: the same chunk is asked again.
      if (appended === "full" || !this.#grow(chunk, parts)) this.closeOpen(queue);
    }
  }

  /** Lets the partition's head be sent as it is due: closed, waited long enough, or as large as batches get. */
  wake(queue: PartitionQueue): void {
    if (!queue.idle) return;
    const head = queue.chunks[0]!;
    if (head.closed || head.lingered || head.hasWholeBatch(this.#limits)) {
      this.#events.onReady(queue);
    }
  }

  /** Ends the wait for company everywhere. */
  wakeAll(): void {
    for (const queue of this.active) {
      const { open } = queue;
      if (open !== null) open.lingered = true;
      this.wake(queue);
    }
  }

  /** Closes the open chunk, if there is one, so that what is appended next starts another. */
  closeOpen(queue: PartitionQueue): void {
    const { open } = queue;
    if (open === null) return;
    if (open.messages === 0) {
      this.remove(queue, open, { reuse: true });
      return;
    }
    open.close();
    this.wake(queue);
  }

  /** Takes out a chunk that was answered for; `reuse` false when its bytes may still be read. */
  remove(queue: PartitionQueue, chunk: Chunk, options: { reuse: boolean }): void {
    const at = queue.chunks.indexOf(chunk);
    if (at < 0) throw new Error("the chunk is not in its queue");
    queue.chunks.splice(at, 1);
    if (chunk.messages > 0) queue.likelyBytes = chunk.sizeBytes;
    if (queue.chunks.length === 0) this.active.delete(queue);
    this.#pool.release(chunk.buffer, chunk.countedBytes, options);
  }

  /** Puts closed chunks in the place of one, whose share of the bound they take over. */
  replace(queue: PartitionQueue, chunk: Chunk, parts: readonly Chunk[]): void {
    queue.chunks.splice(queue.chunks.indexOf(chunk), 1, ...parts);
    let leftBytes = chunk.countedBytes;
    for (const part of parts) {
      part.countedBytes = Math.floor(chunk.countedBytes / parts.length);
      leftBytes -= part.countedBytes;
    }
    parts[parts.length - 1]!.countedBytes += leftBytes;
  }

  /** Lets go of the timer. */
  stop(): void {
    this.#cancelLinger?.();
    this.#cancelLinger = null;
    this.#lingering = [];
  }

  #newChunk(queue: PartitionQueue, parts: RecordParts): Chunk | null {
    const neededBytes = HEADER_BYTES + recordBound(parts);
    const likelyBytes = Math.max(
      neededBytes,
      Math.min(queue.likelyBytes, this.#limits.maxRequestBytes),
    );
    const buffer = this.#pool.acquire(likelyBytes) ?? this.#pool.acquire(neededBytes);
    if (buffer === null) return null;
    const now = this.#ports.clock.monotonic();
    const chunk = new Chunk(buffer, now, now + this.#limits.deliveryTimeoutMs);
    queue.chunks.push(chunk);
    this.active.add(queue);
    this.#startLinger(queue, chunk);
    return chunk;
  }

  #grow(chunk: Chunk, parts: RecordParts): boolean {
    const neededBytes = Math.min(chunk.boundWith(parts), this.#limits.maxRequestBytes);
    if (neededBytes <= chunk.buffer.length) return chunk.boundWith(parts) <= chunk.buffer.length;
    const doubledBytes = Math.min(chunk.buffer.length * 2, this.#limits.maxRequestBytes);
    const larger = this.#pool.acquire(Math.max(neededBytes, doubledBytes));
    if (larger === null) return false;
    const left = chunk.moveTo(larger);
    this.#pool.release(left, left.length, { reuse: true });
    return true;
  }

  #startLinger(queue: PartitionQueue, chunk: Chunk): void {
    if (this.#limits.lingerMs <= 0) {
      chunk.lingered = true;
      // The message itself is appended right after this; whoever sends runs in a later microtask.
      if (queue.idle && queue.chunks.length === 1) this.#events.onReady(queue);
      return;
    }
    this.#lingering.push({ queue, chunk });
    if (this.#cancelLinger === null) this.#setLingerTimer(this.#limits.lingerMs);
  }

  #setLingerTimer(delayMs: number): void {
    this.#cancelLinger = this.#ports.timers.after(delayMs, () => this.#endLingers());
  }

  #endLingers(): void {
    this.#cancelLinger = null;
    const now = this.#ports.clock.monotonic();
    let done = 0;
    while (done < this.#lingering.length) {
      const { queue, chunk } = this.#lingering[done]!;
      const waitedMs = now - chunk.createdAt;
      // Timers of some runtimes fire a fraction of a millisecond early.
      if (waitedMs < this.#limits.lingerMs - 0.5) {
        this.#setLingerTimer(this.#limits.lingerMs - waitedMs);
        break;
      }
      chunk.lingered = true;
      this.wake(queue);
      done++;
    }
    this.#lingering = this.#lingering.slice(done);
  }
}
