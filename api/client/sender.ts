// Owns sending what the accumulator holds: one request per partition at a time, several partitions at once, retries.
// Refuses to own memory and batching (accumulator.ts), or who waits (delivery.ts).
// Invariant: a partition's next chunk is sent only when the one before it has been answered for, so that nothing
// overtakes; every record is reported to its owner once.
import type { Cancel } from "../../storage/ports.ts";
import type { Accumulator, PartitionQueue } from "./accumulator.ts";
import { backoffMs, type BackoffPolicy } from "./backoff.ts";
import type { Chunk } from "./chunk.ts";
import { asWaybillError, WaybillError } from "./errors.ts";
import { Fifo } from "./fifo.ts";
import type { ClientPorts } from "./ports.ts";
import { type Identities, SEQUENCES } from "./identity.ts";
import { type Acks, type PlacedBatch, publishChunk } from "./publish.ts";
import { canSplit, reportDelivered, reportFailed, splitChunk } from "./settle.ts";
import type { Transport } from "./transport.ts";

export interface SenderOptions {
  readonly transport: Transport;
  readonly ports: ClientPorts;
  readonly accumulator: Accumulator;
  readonly acks: Acks;
  /** Null when repeats are not to be told from new messages. */
  readonly identities: Identities | null;
  /** Requests on their way at once. */
  readonly maxParallelRequests: number;
  readonly requestTimeoutMs: number;
  readonly backoff: BackoffPolicy;
  /** A chunk is about to be sent: what comes next starts another. */
  readonly onDispatch: (queue: PartitionQueue) => void;
  /** Node id of the broker that leads the partition; null while that is not known. */
  readonly leaderOf: (queue: PartitionQueue) => string | null;
  /** The partition may be led by another broker by now. */
  readonly onLeaderDoubted: (queue: PartitionQueue) => void;
  /** Memory came back. */
  readonly onRoom: () => void;
  /** The broker does not know the partition: true when, asked again, it does. */
  readonly partitionExists: (queue: PartitionQueue) => Promise<boolean>;
}

/** The bytes themselves were refused, perhaps for the sake of one message among many. */
const CONTENT_FAULTS = new Set([
  "INVALID_REQUEST",
  "CORRUPT_BATCH",
  "MESSAGE_TOO_LARGE",
  "REQUEST_TOO_LARGE",
]);

export class Sender {
  readonly #options: SenderOptions;
  /** Partitions whose head is due, first come first served. */
  readonly #line = new Fifo<PartitionQueue>();
  #inFlight = 0;
  #dispatchQueued = false;
  #closed: WaybillError | null = null;
  readonly #backoffs = new Set<Cancel>();
  readonly #abort = new AbortController();

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** Requests on their way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Puts the partition into the line; it is sent in a later microtask, so that what is appended meanwhile goes with it. */
  ready(queue: PartitionQueue): void {
    queue.ready = true;
    this.#line.push(queue);
    if (this.#dispatchQueued) return;
    this.#dispatchQueued = true;
    queueMicrotask(() => {
      this.#dispatchQueued = false;
      this.#dispatch();
    });
  }

  /** Reports every chunk whose time is over and that is not on its way. `now` is monotonic, ms. */
  expire(now: number): void {
    for (const queue of [...this.#options.accumulator.active]) {
      for (let head = queue.chunks[0]; head !== undefined; head = queue.chunks[0]) {
        if (queue.inFlight || head.deadline > now || head.messages === 0) break;
        this.#fail(queue, head, expired(queue, head));
      }
    }
  }

  /** Gives up all that is left, with `error`. */
  abandon(error: WaybillError): void {
    this.#closed = error;
    for (const queue of [...this.#options.accumulator.active]) {
      while (!queue.inFlight && queue.chunks.length > 0) this.#fail(queue, queue.chunks[0]!, error);
    }
    for (const cancel of this.#backoffs) cancel();
    this.#backoffs.clear();
    this.#abort.abort();
  }

  #dispatch(): void {
    const { maxParallelRequests } = this.#options;
    while (this.#inFlight < maxParallelRequests) {
      const queue = this.#line.shift();
      if (queue === undefined) return;
      queue.ready = false;
      const head = queue.chunks[0];
      // It may have been given up meanwhile.
      if (head === undefined || head.messages === 0) continue;
      this.#send(queue, head);
    }
  }

  async #send(queue: PartitionQueue, chunk: Chunk): Promise<void> {
    const { transport, ports, acks } = this.#options;
    queue.inFlight = true;
    this.#inFlight++;
    this.#options.onDispatch(queue);
    chunk.close();
    let failure: WaybillError | null = null;
    let placed: PlacedBatch[] = [];
    try {
      await this.#stamp(queue, chunk);
      const leftMs = chunk.deadline - ports.clock.monotonic();
      placed = await publishChunk(transport, {
        topic: queue.topic,
        partition: queue.partition,
        chunk,
        acks,
        leader: this.#options.leaderOf(queue),
        timeoutMs: Math.max(1, Math.min(this.#options.requestTimeoutMs, leftMs)),
        signal: this.#abort.signal,
      });
    } catch (error) {
      failure = asWaybillError(error, "NETWORK_ERROR");
      if (chunk.stamp !== null && !isRefusal(failure)) chunk.uncertain = true;
      if (failure.retryable && !isRefusal(failure)) this.#options.onLeaderDoubted(queue);
      if (failure.code === "UNKNOWN_PARTITION") {
        failure = await this.#checkPartition(queue, failure);
      }
    }
    this.#inFlight--;
    queue.inFlight = false;
    if (failure === null) this.#deliver(queue, chunk, placed);
    else this.#handle(queue, chunk, failure);
    if (this.#closed !== null) this.abandon(this.#closed);
    this.#options.accumulator.wake(queue);
    this.#dispatch();
  }

  /** What may have been stored keeps its numbers; anything else takes those that come next. */
  async #stamp(queue: PartitionQueue, chunk: Chunk): Promise<void> {
    const { identities, ports: { crc: { crc32c } } } = this.#options;
    if (chunk.uncertain) return;
    if (identities === null || chunk.keyed) return chunk.seal(null, crc32c);
    if (queue.identity === null) {
      queue.identity = await identities.take();
      queue.nextSequence = 0;
    }
    chunk.seal({ identity: queue.identity, sequence: queue.nextSequence }, crc32c);
  }

  #deliver(queue: PartitionQueue, chunk: Chunk, placed: readonly PlacedBatch[]): void {
    const { stamp } = chunk;
    if (stamp !== null && stamp.identity === queue.identity) {
      queue.nextSequence = (stamp.sequence + chunk.messages) % SEQUENCES;
    }
    this.#options.accumulator.remove(queue, chunk, { reuse: true });
    reportDelivered(queue, chunk, placed);
    this.#options.onRoom();
  }

  #handle(queue: PartitionQueue, chunk: Chunk, failure: WaybillError): void {
    const { ports, accumulator, backoff } = this.#options;
    const error = this.#startedAnew(queue, chunk, failure);
    chunk.attempts++;
    if (this.#closed !== null) {
      this.#fail(queue, chunk, this.#closed);
    } else if (CONTENT_FAULTS.has(error.code) && canSplit(chunk)) {
      splitChunk(queue, chunk, { accumulator, crc32c: ports.crc.crc32c });
    } else if (!error.retryable) {
      this.#fail(queue, chunk, error);
    } else {
      const { retryAfterMs } = error;
      const waitMs = backoffMs(
        { attempt: chunk.attempts, retryAfterMs },
        backoff,
        ports.randomness,
      );
      if (ports.clock.monotonic() + waitMs >= chunk.deadline) {
        this.#fail(queue, chunk, expired(queue, chunk, error));
      } else {
        this.#wait(queue, waitMs);
      }
    }
  }

  /**
   * The broker has forgotten the producer, or lost what it had acknowledged: the chunk may be sent under a new identity,
   * as long as it is sure that it was not stored under the old one.
   */
  #startedAnew(queue: PartitionQueue, chunk: Chunk, error: WaybillError): WaybillError {
    const { stamp } = chunk;
    if (stamp === null) return error;
    if (error.code === "PRODUCER_FENCED") {
      this.#options.identities?.forget(stamp.identity.producerId);
      queue.identity = null;
    }
    if (error.code !== "OUT_OF_ORDER_SEQUENCE") return error;
    queue.identity = null;
    const expected = error.details.expectedSequence;
    const knownMissing = typeof expected === "number" && expected > 0 &&
      expected <= stamp.sequence;
    if (chunk.uncertain && !knownMissing) return error;
    chunk.uncertain = false;
    const { detail, status, requestId, details } = error;
    const more = requestId === undefined ? {} : { requestId };
    return new WaybillError(error.code, detail, { retryable: true, status, details, ...more });
  }

  #wait(queue: PartitionQueue, waitMs: number): void {
    queue.backingOff = true;
    const cancel = this.#options.ports.timers.after(waitMs, () => {
      this.#backoffs.delete(cancel);
      queue.backingOff = false;
      this.#options.accumulator.wake(queue);
    });
    this.#backoffs.add(cancel);
  }

  /** Its bytes are kept: whoever hears of the failure may want to see the messages. */
  #fail(queue: PartitionQueue, chunk: Chunk, error: WaybillError): void {
    chunk.sealAsIs(this.#options.ports.crc.crc32c);
    // Whether its numbers are used up is not known: what follows must not depend on it.
    if (chunk.uncertain) queue.identity = null;
    this.#options.accumulator.remove(queue, chunk, { reuse: false });
    reportFailed(queue, chunk, error);
    this.#options.onRoom();
  }

  async #checkPartition(queue: PartitionQueue, error: WaybillError): Promise<WaybillError> {
    if (!await this.#options.partitionExists(queue).catch(() => true)) return error;
    return new WaybillError(error.code, error.detail, { retryable: true, status: error.status });
  }
}

/** The broker answered that it stored nothing; all else leaves the outcome open. */
function isRefusal(error: WaybillError): boolean {
  return error.status >= 400 && error.status < 500;
}

function expired(queue: PartitionQueue, chunk: Chunk, cause?: WaybillError): WaybillError {
  const why = cause === undefined ? "it was not sent in time" : `the last attempt: ${cause.detail}`;
  const detail =
    `${queue.topic}/${queue.partition} took no message in ${chunk.attempts} attempts; ${why}`;
  return new WaybillError("DELIVERY_TIMEOUT", detail, {
    retryable: true,
    status: cause?.status ?? 0,
    ...(cause?.requestId === undefined ? {} : { requestId: cause.requestId }),
    details: { attempts: chunk.attempts, ...(cause === undefined ? {} : { lastCode: cause.code }) },
    cause,
  });
}
