// Owns what failures of etcd mean: whether the request may have been carried out, whether another endpoint may do
// better, and which BrokerError a caller gets.
// Refuses to own trying again (etcd_requests.ts).
// Invariant: "did not happen" is said only where nothing was sent, or where etcd refuses before it proposes.
import { BrokerError } from "../broker_error.ts";

/** Codes of gRPC that etcd's refusals carry. */
const NOT_FOUND = 5;
const RESOURCE_EXHAUSTED = 8;
const OUT_OF_RANGE = 11;
const UNAUTHENTICATED = 16;
/** Unknown, deadline exceeded, internal, unavailable: of the endpoint, not of what was asked. */
const ENDPOINT_CODES: readonly number[] = [2, 4, 13, 14];

/** etcd said no. */
export class EtcdRefusal extends Error {
  override name = "EtcdRefusal";

  constructor(readonly reason: string, readonly code: number) {
    super(`etcd answered: ${reason}`);
  }

  get isLeaseMissing(): boolean {
    return this.code === NOT_FOUND && /lease not found/.test(this.reason);
  }

  get isCompacted(): boolean {
    return this.code === OUT_OF_RANGE && /compacted/.test(this.reason);
  }

  get isTooManyOperations(): boolean {
    return /too many operations/.test(this.reason);
  }

  /** The token has run out, was never known to this member, or is older than a change of users and roles. */
  get isTokenRefused(): boolean {
    return this.code === UNAUTHENTICATED ||
      /invalid auth token|revision of auth store is old|user name is empty/.test(this.reason);
  }

  get isFull(): boolean {
    return this.code === RESOURCE_EXHAUSTED && /space exceeded/.test(this.reason);
  }

  /** Refused before it was proposed; another member, or the same one later, may do it. */
  get isNotYetProposed(): boolean {
    return /no leader|too many requests|not supported for learner|not capable/.test(this.reason);
  }

  /** It is the endpoint that failed, not what was asked of it. */
  get isOfEndpoint(): boolean {
    return ENDPOINT_CODES.includes(this.code) || this.isNotYetProposed;
  }
}

/** No answer came. `isUnsent`: there was no connection to send the request on. */
export class EtcdSilence extends Error {
  override name = "EtcdSilence";

  constructor(message: string, readonly isUnsent: boolean, options?: ErrorOptions) {
    super(message, options);
  }
}

/** Whether a write that failed with `error` may have been carried out all the same. */
export function mayHaveHappened(error: unknown): boolean {
  if (error instanceof EtcdSilence) return !error.isUnsent;
  if (error instanceof EtcdRefusal) return error.isOfEndpoint && !error.isNotYetProposed;
  return true;
}

/** Whether another endpoint, or the same one later, may answer better. */
export function isWorthAnother(error: unknown): boolean {
  return error instanceof EtcdSilence || (error instanceof EtcdRefusal && error.isOfEndpoint);
}

/** `error` for a caller that asked for `action`. */
export function metadataError(
  action: string,
  cause: unknown,
  { isOutcomeUnknown }: { readonly isOutcomeUnknown: boolean },
): Error {
  if (cause instanceof BrokerError) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  if (isOutcomeUnknown) {
    const message = `whether it happened is unknown: ${action}: ${reason}`;
    return new BrokerError("STORAGE_FAILED", message, {}, { cause });
  }
  if (cause instanceof EtcdRefusal && cause.isFull) {
    const message =
      `could not ${action}: etcd is over its space quota (compact, defragment, disarm)`;
    return new BrokerError("DISK_FULL", message, {}, { cause });
  }
  const isTooLarge = cause instanceof EtcdRefusal &&
    (cause.isTooManyOperations || /request is too large/.test(cause.reason));
  if (isTooLarge) return new Error(`could not ${action}: ${reason}`, { cause });
  return new BrokerError("METADATA_UNAVAILABLE", `could not ${action}: ${reason}`, {}, { cause });
}
