// Owns the errors of a file log: which code says what, in words an operator can act on.
// Refuses to own what the log does after one.
// Invariant: each names the log and the action or the place.
import { BrokerError } from "../broker_error.ts";
import { DiskFullError } from "../ports.ts";

/** A place in a log at which bytes are not what they must be. */
export interface FaultyPlace {
  readonly offset: number;
  readonly segmentBase: number;
  readonly position: number;
  readonly reason: string;
}

export function corruptLog(log: string, place: FaultyPlace, cause?: unknown): BrokerError {
  const { offset, segmentBase, position, reason } = place;
  return new BrokerError(
    "CORRUPT_LOG",
    `log ${log} cannot be read at offset ${offset} (segment ${segmentBase}, byte ${position}): ${reason}`,
    { log, offset, segmentBase, position },
    { cause },
  );
}

export function offsetOutOfRange(
  log: string,
  offset: number,
  range: { logStartOffset: number; logEndOffset: number },
): BrokerError {
  const { logStartOffset, logEndOffset } = range;
  return new BrokerError(
    "OFFSET_OUT_OF_RANGE",
    `log ${log} holds offsets ${logStartOffset} to ${logEndOffset}, not ${offset}`,
    { log, offset, logStartOffset, logEndOffset },
  );
}

/** Nothing was kept; asking again may help. */
export function diskFull(log: string, action: string, cause: unknown): BrokerError {
  return new BrokerError("DISK_FULL", `no space on disk to ${action} log ${log}`, { log }, {
    cause,
  });
}

/** The outcome on disk is unknown until the log is opened again. */
export function storageFailed(log: string, action: string, cause: unknown): BrokerError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new BrokerError(
    "STORAGE_FAILED",
    `the disk failed to ${action} log ${log}: ${why}`,
    { log },
    { cause },
  );
}

export function logClosed(log: string): BrokerError {
  return new BrokerError("SHUTTING_DOWN", `log ${log} is closed`, { log });
}

/** `error` of the disk as a BrokerError. */
export function diskFault(log: string, action: string, error: unknown): BrokerError {
  if (error instanceof BrokerError) return error;
  return error instanceof DiskFullError
    ? diskFull(log, action, error)
    : storageFailed(log, action, error);
}
