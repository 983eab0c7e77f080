// Owns what becomes of messages that nobody holds a promise for.
// Refuses to own any of the others.
// Invariant: a failure is told to `onError` when it happens and to the next flush.
import type { AdmissionOwner } from "./admission.ts";
import type { DeliveredRun, FailedRun } from "./delivery.ts";
import { WaybillError } from "./errors.ts";
import type { Outgoing } from "./outgoing.ts";

export interface EnqueueListeners {
  readonly onError?: (failure: FailedRun) => void;
  readonly onDelivered?: (run: DeliveredRun) => void;
}

export class EnqueueOwner implements AdmissionOwner {
  #failedCount = 0;
  #firstError: WaybillError | null = null;
  readonly #listeners: EnqueueListeners;

  constructor(listeners: EnqueueListeners) {
    this.#listeners = listeners;
  }

  delivered(run: DeliveredRun): void {
    const { onDelivered } = this.#listeners;
    if (onDelivered !== undefined) call(() => onDelivered(run));
  }

  failed(run: FailedRun): void {
    this.#failedCount += run.count;
    this.#firstError ??= run.error;
    const { onError } = this.#listeners;
    if (onError !== undefined) call(() => onError(run));
  }

  refused(topic: string, error: WaybillError, message: Outgoing): void {
    this.failed({ topic, partition: -1, count: 1, error, messages: () => [message] });
  }

  /** Throws the first failure since the last call, if there was one. */
  throwFailures(): void {
    const first = this.#firstError;
    const failedCount = this.#failedCount;
    this.#firstError = null;
    this.#failedCount = 0;
    if (first === null) return;
    throw new WaybillError(
      first.code,
      `${failedCount} messages failed, the first: ${first.detail}`,
      {
        retryable: first.retryable,
        status: first.status,
        details: { ...first.details, failedCount },
        cause: first,
      },
    );
  }
}

/** A listener's fault is not the sender's: it is thrown where the runtime reports uncaught errors. */
function call(listener: () => void): void {
  try {
    listener();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
