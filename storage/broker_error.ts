// Owns the one error type users can meet, and the frozen table of its codes.
// Refuses to own how an error is shown: only `api/problem.ts` turns it into a response.
// Invariant: a code's status and retryability are the same wherever it is thrown.

/** HTTP status and retryability by code. Callers branch on the code, never on the message. */
export const ERROR_CODES = Object.freeze({
  // What was asked is wrong; asking again is no use.
  INVALID_REQUEST: { httpStatus: 400, retryable: false },
  CORRUPT_BATCH: { httpStatus: 400, retryable: false },
  UNSUPPORTED_COMPRESSION: { httpStatus: 400, retryable: false },
  INVALID_REPLICATION_FACTOR: { httpStatus: 400, retryable: false },
  INVALID_PARTITIONS: { httpStatus: 400, retryable: false },
  UNAUTHENTICATED: { httpStatus: 401, retryable: false },
  FORBIDDEN: { httpStatus: 403, retryable: false },
  PRODUCER_FENCED: { httpStatus: 403, retryable: false },
  INTERNAL_TOPIC: { httpStatus: 403, retryable: false },
  ORIGIN_NOT_ALLOWED: { httpStatus: 403, retryable: false },
  NOT_FOUND: { httpStatus: 404, retryable: false },
  UNKNOWN_TOPIC: { httpStatus: 404, retryable: false },
  UNKNOWN_PARTITION: { httpStatus: 404, retryable: false },
  UNKNOWN_GROUP: { httpStatus: 404, retryable: false },
  UNKNOWN_SNAPSHOT: { httpStatus: 404, retryable: false },
  UNKNOWN_CANARY: { httpStatus: 404, retryable: false },
  UNKNOWN_MEMBER: { httpStatus: 404, retryable: false },
  UNKNOWN_TRANSACTION: { httpStatus: 404, retryable: false },
  METHOD_NOT_ALLOWED: { httpStatus: 405, retryable: false },
  NOT_ACCEPTABLE: { httpStatus: 406, retryable: false },
  TOPIC_ALREADY_EXISTS: { httpStatus: 409, retryable: false },
  GROUP_NOT_EMPTY: { httpStatus: 409, retryable: false },
  GROUP_PAUSED: { httpStatus: 409, retryable: false },
  INCONSISTENT_ASSIGNOR: { httpStatus: 409, retryable: false },
  OFFSET_ROLLBACK: { httpStatus: 409, retryable: false },
  STALE_GENERATION: { httpStatus: 409, retryable: false },
  STALE_LEASE: { httpStatus: 409, retryable: false },
  DUPLICATE_MESSAGES: { httpStatus: 409, retryable: false },
  LIMIT_REACHED: { httpStatus: 409, retryable: false },
  INVALID_JOB_STATE: { httpStatus: 409, retryable: false },
  INVALID_ALERT_STATE: { httpStatus: 409, retryable: false },
  INVALID_CANARY_STATE: { httpStatus: 409, retryable: false },
  INVALID_EXECUTION_STATE: { httpStatus: 409, retryable: false },
  OUT_OF_ORDER_SEQUENCE: { httpStatus: 409, retryable: false },
  INVALID_TRANSACTION_STATE: { httpStatus: 409, retryable: false },
  MESSAGE_TOO_LARGE: { httpStatus: 413, retryable: false },
  REQUEST_TOO_LARGE: { httpStatus: 413, retryable: false },
  UNSUPPORTED_MEDIA_TYPE: { httpStatus: 415, retryable: false },
  OFFSET_OUT_OF_RANGE: { httpStatus: 416, retryable: false },
  IDEMPOTENCY_KEY_REUSED: { httpStatus: 422, retryable: false },
  UPGRADE_REQUIRED: { httpStatus: 426, retryable: false },
  // The broker cannot right now; asking again may help.
  IDEMPOTENCY_KEY_IN_USE: { httpStatus: 409, retryable: true },
  RUNBOOK_BUSY: { httpStatus: 409, retryable: true },
  RUNBOOK_COOLING_DOWN: { httpStatus: 409, retryable: true },
  QUOTA_EXCEEDED: { httpStatus: 429, retryable: true },
  INTERNAL: { httpStatus: 500, retryable: false },
  CORRUPT_LOG: { httpStatus: 500, retryable: false },
  OVERLOADED: { httpStatus: 503, retryable: true },
  DISK_FULL: { httpStatus: 503, retryable: true },
  STORAGE_FAILED: { httpStatus: 503, retryable: true },
  ARCHIVE_UNAVAILABLE: { httpStatus: 503, retryable: true },
  ENCRYPTION_KEY_UNAVAILABLE: { httpStatus: 503, retryable: true },
  ACTOR_DOWN: { httpStatus: 503, retryable: true },
  LEADER_NOT_AVAILABLE: { httpStatus: 503, retryable: true },
  NOT_LEADER: { httpStatus: 503, retryable: true },
  NOT_ENOUGH_REPLICAS: { httpStatus: 503, retryable: true },
  STALE_EPOCH: { httpStatus: 503, retryable: true },
  IDENTITY_UNAVAILABLE: { httpStatus: 503, retryable: true },
  AUDIT_UNAVAILABLE: { httpStatus: 503, retryable: true },
  SHUTTING_DOWN: { httpStatus: 503, retryable: true },
  PEER_UNAVAILABLE: { httpStatus: 503, retryable: true },
  PEER_LOST: { httpStatus: 503, retryable: true },
  METADATA_UNAVAILABLE: { httpStatus: 503, retryable: true },
  METADATA_CONFLICT: { httpStatus: 503, retryable: true },
  CONCURRENT_TRANSACTIONS: { httpStatus: 503, retryable: true },
});

export type ErrorCode = keyof typeof ERROR_CODES;

/** What a user can be told went wrong. `details` holds plain JSON data that the problem body repeats. */
export class BrokerError extends Error {
  override name = "BrokerError";
  readonly retryable: boolean;
  readonly httpStatus: number;

  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly details: Readonly<Record<string, unknown>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.retryable = ERROR_CODES[code].retryable;
    this.httpStatus = ERROR_CODES[code].httpStatus;
  }
}

/** `error` as a BrokerError: itself, or `INTERNAL` around it. */
export function asBrokerError(error: unknown): BrokerError {
  if (error instanceof BrokerError) return error;
  return new BrokerError("INTERNAL", "the broker met a fault of its own", {}, { cause: error });
}
