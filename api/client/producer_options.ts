// Owns what a producer can be told, the defaults, and refusing what makes no sense.
// Refuses to own any behaviour.
// Invariant: resolved options are complete, and their bounds fit into each other.
import { type BackoffPolicy, DEFAULT_BACKOFF } from "./backoff.ts";
import { MIN_BUFFER_BYTES } from "./buffer_pool.ts";
import type { DeliveredRun, FailedRun } from "./delivery.ts";
import { WaybillError } from "./errors.ts";
import type { Acks } from "./publish.ts";

export interface ProducerOptions {
  /** When the broker answers; default "all": after the message is durable as the topic says. */
  readonly acks?: Acks;
  /**
   * Whether messages are numbered, so that the broker stores each once however often it is sent; default true. False is
   * for brokers that do not know of producers: a request whose answer was lost may then be stored twice.
   */
  readonly idempotent?: boolean;
  /** How long a message waits for company, ms; default 5. 0 sends what one turn of the event loop brought. */
  readonly lingerMs?: number;
  /** A record batch is closed at this size; default 1 MiB. */
  readonly maxBatchBytes?: number;
  /**
   * Batches of one partition that go in one request, in bytes; default 2 MiB. One message may be larger; the broker
   * takes no request above 16 MiB.
   */
  readonly maxRequestBytes?: number;
  /** Messages in one request; default 10,000, which is what the broker takes. */
  readonly maxRequestMessages?: number;
  /** Memory for messages that are not settled; default 64 MiB. */
  readonly maxBufferedBytes?: number;
  /** When that is full, `send` and `sendMany` wait for room, or reject with BUFFER_FULL; default "wait". */
  readonly onFull?: "wait" | "reject";
  /** Calls of `send` and `sendMany` that wait for room at once; more are rejected with BUFFER_FULL. Default 100,000. */
  readonly maxWaitingSends?: number;
  /** Requests on their way at once, each for another partition; default 8. */
  readonly maxParallelRequests?: number;
  /**
   * Only 1. More would let a retry overtake what was sent after it, and the numbers of later messages depend on what
   * became of the earlier ones.
   */
  readonly maxInFlightPerPartition?: 1;
  /** A message is stored, or reported as failed, within this time; default 120,000 ms. */
  readonly deliveryTimeoutMs?: number;
  /** One request; default 30,000 ms. */
  readonly requestTimeoutMs?: number;
  readonly backoff?: BackoffPolicy;
  /** Partition counts are asked for again after this time; default 300,000 ms. */
  readonly metadataMaxAgeMs?: number;
  /** Hears of messages given to `enqueue` that failed. */
  readonly onError?: (failure: FailedRun) => void;
  /** Hears of messages given to `enqueue` that were stored. */
  readonly onDelivered?: (run: DeliveredRun) => void;
}

export type ResolvedProducerOptions =
  & Required<Omit<ProducerOptions, "onError" | "onDelivered" | "maxInFlightPerPartition">>
  & Pick<ProducerOptions, "onError" | "onDelivered">;

const MEBIBYTE = 1_048_576;

/** `options` with the defaults filled in. INVALID_REQUEST for what makes no sense. */
export function resolveProducerOptions(options: ProducerOptions): ResolvedProducerOptions {
  if ((options.maxInFlightPerPartition ?? 1) !== 1) {
    throw invalid("maxInFlightPerPartition can only be 1: more could reorder messages on a retry");
  }
  const maxBufferedBytes = options.maxBufferedBytes ?? 64 * MEBIBYTE;
  const maxRequestBytes = options.maxRequestBytes ??
    Math.max(MIN_BUFFER_BYTES, Math.min(2 * MEBIBYTE, maxBufferedBytes / 8 | 0));
  const resolved: ResolvedProducerOptions = {
    acks: options.acks ?? "all",
    idempotent: options.idempotent ?? true,
    lingerMs: options.lingerMs ?? 5,
    maxBatchBytes: options.maxBatchBytes ?? Math.min(MEBIBYTE, maxRequestBytes),
    maxRequestBytes,
    maxRequestMessages: options.maxRequestMessages ?? 10_000,
    maxBufferedBytes,
    onFull: options.onFull ?? "wait",
    maxWaitingSends: options.maxWaitingSends ?? 100_000,
    maxParallelRequests: options.maxParallelRequests ?? 8,
    deliveryTimeoutMs: options.deliveryTimeoutMs ?? 120_000,
    requestTimeoutMs: options.requestTimeoutMs ?? 30_000,
    backoff: options.backoff ?? DEFAULT_BACKOFF,
    metadataMaxAgeMs: options.metadataMaxAgeMs ?? 300_000,
    ...(options.onError === undefined ? {} : { onError: options.onError }),
    ...(options.onDelivered === undefined ? {} : { onDelivered: options.onDelivered }),
  };
  check(resolved);
  return resolved;
}

function check(options: ResolvedProducerOptions): void {
  for (const [name, value] of Object.entries(options)) {
    const least = name === "lingerMs" || name === "maxWaitingSends" ? 0 : 1;
    if (typeof value === "number" && !(Number.isFinite(value) && value >= least)) {
      throw invalid(`${name} must be a number from ${least}, not ${value}`);
    }
  }
  if (options.maxRequestBytes > options.maxBufferedBytes) {
    throw invalid(
      `maxRequestBytes ${options.maxRequestBytes} does not fit into maxBufferedBytes ${options.maxBufferedBytes}`,
    );
  }
}

function invalid(detail: string): WaybillError {
  return new WaybillError("INVALID_REQUEST", detail, { retryable: false });
}
