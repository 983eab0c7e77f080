// Owns what a consumer can be told, the defaults, and refusing what makes no sense.
// Refuses to own any behaviour.
// Invariant: resolved options are complete.
import type { BackoffPolicy } from "./backoff.ts";
import { WaybillError } from "./errors.ts";
import type { PartitionOffset, TopicPartition } from "./frames.ts";

/** Why partitions are going. */
export interface Revocation {
  /** True when they are gone already: nothing of them can be committed any more. */
  readonly lost: boolean;
}

/** A window full of messages that the application was given and did not settle. */
export interface Lagging {
  readonly unsettled: number;
  readonly maxInFlight: number;
}

export interface ConsumerEvents {
  /** Partitions came; reading goes on at `offset`. */
  readonly onAssigned?: (partitions: readonly PartitionOffset[]) => void;
  /**
   * Partitions go. Nothing more of them is handed out; they are given up when this has resolved and all that was handed
   * out is committed or nacked (with `autoCommit`: consumed).
   */
  readonly onRevoked?: (
    partitions: readonly TopicPartition[],
    why: Revocation,
  ) => void | Promise<void>;
  /** Something went wrong that the consumer goes on from: a lost connection, a refused automatic commit or nack. */
  readonly onError?: (error: WaybillError) => void;
  /** The application asks for more while it has not settled what fills the window: nothing comes until it commits. */
  readonly onLagging?: (lagging: Lagging) => void;
  /** An operator has paused the group. */
  readonly onPaused?: (reason: string) => void;
  readonly onResumed?: () => void;
  /** The consumer's version was a canary that did worse than the others: it gets nothing until it is assigned something. */
  readonly onWithdrawn?: (withdrawn: { version: string; reason: string }) => void;
  /** Connected as a member of the group; `resumed`: as the one it was before. */
  readonly onConnected?: (
    member: { memberId: string; generation: number; resumed: boolean },
  ) => void;
}

export interface ConsumerOptions extends ConsumerEvents {
  readonly group: string;
  readonly topics: readonly string[];
  readonly clientId?: string;
  /** Makes it a static member: it may come back within its session timeout without a rebalance. */
  readonly instanceId?: string;
  /** Of the program: what a canary of the group goes by. */
  readonly version?: string;
  readonly assignor?: "range" | "roundrobin" | "sticky";
  /** Where to start what the group has never committed; default as the broker: "earliest". */
  readonly autoOffsetReset?: "earliest" | "latest";
  /** Messages that the broker sends ahead of what is settled; default 10,000. */
  readonly maxInFlight?: number;
  /** Memory for messages that wait to be handed out; above it the broker is asked to pause. Default 64 MiB. */
  readonly maxBufferedBytes?: number;
  /** Commits what has been consumed, that is when the iterator is asked for the next. Default false. */
  readonly autoCommit?: boolean;
  /** Default 1,000 ms; a quarter of the window that is consumed is committed at once. */
  readonly autoCommitIntervalMs?: number;
  /** The broker removes a member that is silent for this time; default 30,000 ms. */
  readonly sessionTimeoutMs?: number;
  /** Checks the CRC of every batch; default true. */
  readonly verifyCrc?: boolean;
  /** Default 30,000 ms. */
  readonly commitTimeoutMs?: number;
  /** Default 10,000 ms. */
  readonly connectTimeoutMs?: number;
  /** How long `close` waits for commits and for the broker's goodbye; default 5,000 ms each. */
  readonly closeTimeoutMs?: number;
  /** Between attempts to connect; default from 100 ms to 10,000 ms. */
  readonly backoff?: BackoffPolicy;
}

type Named =
  | "group"
  | "topics"
  | "clientId"
  | "instanceId"
  | "version"
  | "assignor"
  | "autoOffsetReset";
export type ResolvedConsumerOptions =
  & Required<Omit<ConsumerOptions, keyof ConsumerEvents | Named>>
  & Pick<ConsumerOptions, keyof ConsumerEvents | Named>;

export const DEFAULT_CONSUMER_OPTIONS: Required<
  Omit<ConsumerOptions, keyof ConsumerEvents | Named>
> = Object.freeze({
  maxInFlight: 10_000,
  maxBufferedBytes: 64 * 1_048_576,
  autoCommit: false,
  autoCommitIntervalMs: 1_000,
  sessionTimeoutMs: 30_000,
  verifyCrc: true,
  commitTimeoutMs: 30_000,
  connectTimeoutMs: 10_000,
  closeTimeoutMs: 5_000,
  backoff: { baseMs: 100, maxMs: 10_000 },
});

/** `options` with the defaults filled in. INVALID_REQUEST for what makes no sense. */
export function resolveConsumerOptions(options: ConsumerOptions): ResolvedConsumerOptions {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const resolved: ResolvedConsumerOptions = {
    ...DEFAULT_CONSUMER_OPTIONS,
    ...Object.fromEntries(given) as unknown as ConsumerOptions,
  };
  // Who writes plain JavaScript hears of it here, and not of a missing property somewhere.
  if (typeof resolved.group !== "string" || resolved.group === "") {
    throw invalid("a consumer needs a group");
  }
  if (!Array.isArray(resolved.topics) || resolved.topics.length === 0) {
    throw invalid("a consumer needs at least one topic, in a list");
  }
  for (const [name, value] of Object.entries(resolved)) {
    if (typeof value === "number" && !(Number.isFinite(value) && value > 0)) {
      throw invalid(`${name} must be a positive number, not ${value}`);
    }
  }
  return resolved;
}

/** The query of the stream that the options ask for. */
export function streamQuery(options: ResolvedConsumerOptions): Record<string, string> {
  const { topics, clientId, instanceId, version, assignor, autoOffsetReset } = options;
  return {
    topics: topics.join(","),
    format: "batch",
    maxInFlight: String(options.maxInFlight),
    sessionTimeoutMs: String(options.sessionTimeoutMs),
    ...(clientId === undefined ? {} : { clientId }),
    ...(instanceId === undefined ? {} : { instanceId }),
    ...(version === undefined ? {} : { version }),
    ...(assignor === undefined ? {} : { assignor }),
    ...(autoOffsetReset === undefined ? {} : { autoOffsetReset }),
  };
}

function invalid(detail: string): WaybillError {
  return new WaybillError("INVALID_REQUEST", detail, { retryable: false });
}
