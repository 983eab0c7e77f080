// Owns who waits for published messages, and telling them what became of each.
// Refuses to own sending, or waiting for room.
// Invariant: every message given to an owner is reported to it once, as delivered or as failed; within one partition
// in the order in which they were given.
import { WaybillError } from "./errors.ts";
import type { Outgoing } from "./outgoing.ts";

/** Where one message was stored. */
export interface SendResult {
  readonly topic: string;
  readonly partition: number;
  /** -1 with acks "none". */
  readonly offset: number;
  /** True when its idempotency key was known: this is where the first message of that key is. */
  readonly duplicate?: true;
}

/** Messages that were stored behind each other. */
export interface DeliveredRun {
  readonly topic: string;
  readonly partition: number;
  /** Offset of the first, -1 with acks "none". */
  readonly offset: number;
  readonly count: number;
  /** True when their idempotency keys were known: this is where the first message of that key is. */
  readonly duplicate?: true;
}

/** Messages of one partition that were not stored, or not for certain. */
export interface FailedRun {
  readonly topic: string;
  /** -1 when none was chosen yet. */
  readonly partition: number;
  readonly count: number;
  readonly error: WaybillError;
  /** The messages, fit to be sent again; those that were encoded already as bytes. */
  readonly messages: () => readonly Outgoing[];
}

export interface Owner {
  /** `sentTo` is the partition they were meant for, where that is not the run's own. */
  delivered(run: DeliveredRun, sentTo?: number): void;
  failed(run: FailedRun): void;
}

/** Waits for one message. */
export class SingleDelivery implements Owner {
  constructor(
    readonly resolve: (result: SendResult) => void,
    readonly reject: (error: WaybillError) => void,
  ) {}

  delivered({ count: _, ...place }: DeliveredRun): void {
    this.resolve(place);
  }

  failed(run: FailedRun): void {
    this.reject(run.error);
  }

  refused(_topic: string, error: WaybillError): void {
    this.reject(error);
  }
}

/** What became of one message of many. */
export type MessageOutcome = SendResult | {
  readonly partition: number;
  readonly error: WaybillError;
};

/** Where many messages were stored. */
export class SendManyResult {
  constructor(
    readonly topic: string,
    readonly count: number,
    /** Without regard to the order of input; within a partition in that order. */
    readonly ranges: readonly DeliveredRun[],
    readonly results: () => SendResult[],
  ) {}
}

/** Some or all of many messages failed. `code` is that of the first that did. */
export class SendManyError extends WaybillError {
  override name = "SendManyError";

  constructor(
    first: WaybillError,
    readonly deliveredCount: number,
    readonly failedCount: number,
    /** One for each message, in input order. */
    readonly outcomes: () => MessageOutcome[],
  ) {
    super(first.code, `${failedCount} messages failed, the first: ${first.detail}`, {
      retryable: first.retryable,
      status: first.status,
      ...(first.requestId === undefined ? {} : { requestId: first.requestId }),
      details: { ...first.details, deliveredCount, failedCount },
      cause: first,
    });
  }
}

type Run =
  & { count: number; offset: number; error: WaybillError | null }
  & Pick<SendResult, "partition" | "duplicate">;

/** Partition number of messages that failed before one was chosen. */
const UNPLACED = -1;

/** Waits for many messages of one topic, handed in as one list. */
export class BulkDelivery implements Owner {
  readonly promise: Promise<SendManyResult>;
  readonly #partitions: Int32Array;
  readonly #runs = new Map<number, Run[]>();
  readonly #ranges: DeliveredRun[] = [];
  #placed = 0;
  #delivered = 0;
  #failed = 0;
  #firstError: WaybillError | null = null;
  #resolve!: (result: SendManyResult) => void;
  #reject!: (error: WaybillError) => void;

  constructor(readonly topic: string, readonly count: number) {
    this.#partitions = new Int32Array(count).fill(UNPLACED);
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    if (count === 0) this.#settleWhenDone();
  }

  /** The next message, in input order, went to `partition`. */
  placed(partition: number): void {
    this.#partitions[this.#placed++] = partition;
  }

  /** The next message, in input order, was refused before it had a place. */
  refused(topic: string, error: WaybillError): void {
    this.#placed++;
    this.failed({ topic, partition: UNPLACED, count: 1, error, messages: () => [] });
  }

  delivered(run: DeliveredRun, sentTo = run.partition): void {
    this.#delivered += run.count;
    const { topic: _, ...place } = run;
    this.#note(sentTo, { ...place, error: null });
    this.#ranges.push(run);
    this.#settleWhenDone();
  }

  failed(run: FailedRun): void {
    this.#failed += run.count;
    this.#firstError ??= run.error;
    const { partition, count, error } = run;
    this.#note(partition, { partition, count, offset: -1, error });
    this.#settleWhenDone();
  }

  #note(partition: number, run: Run): void {
    const runs = this.#runs.get(partition);
    if (runs === undefined) this.#runs.set(partition, [run]);
    else runs.push(run);
  }

  #settleWhenDone(): void {
    if (this.#delivered + this.#failed < this.count) return;
    const outcomes = () => this.#outcomes();
    if (this.#firstError !== null) {
      this.#reject(
        new SendManyError(this.#firstError, this.#delivered, this.#failed, outcomes),
      );
    } else {
      const results = () => outcomes() as SendResult[];
      this.#resolve(new SendManyResult(this.topic, this.count, this.#ranges, results));
    }
  }

  /** Each partition's runs are in the order of its messages, so one walk over the input finds every outcome. */
  #outcomes(): MessageOutcome[] {
    const cursors = new Map<number, { run: number; within: number }>();
    const outcomes: MessageOutcome[] = [];
    for (const partition of this.#partitions) {
      const runs = this.#runs.get(partition)!;
      const cursor = cursors.get(partition) ?? { run: 0, within: 0 };
      cursors.set(partition, cursor);
      const run = runs[cursor.run]!;
      outcomes.push(
        run.error !== null ? { partition, error: run.error } : {
          topic: this.topic,
          partition: run.partition,
          offset: run.offset < 0 ? -1 : run.offset + cursor.within,
          ...(run.duplicate ? { duplicate: run.duplicate } : {}),
        },
      );
      if (++cursor.within === run.count) cursors.set(partition, { run: cursor.run + 1, within: 0 });
    }
    return outcomes;
  }
}
