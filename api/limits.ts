// Owns the bounds that the HTTP edge puts on what strangers may send or ask for.
// Refuses to own topic limits (maxMessageBytes lives in the topic) or quotas by tenant.
// Invariant: every bound is checked before the memory that it bounds is allocated.

/** Bounds of the HTTP edge; units last in the names. */
export interface ApiLimits {
  /** Largest request body. */
  readonly maxBodyBytes: number;
  /** Bodies in memory over all requests, from when they arrive until their request is answered. */
  readonly maxReceivedBytes: number;
  /** Answers in memory over all requests, from when they are read until their callers have taken them. */
  readonly maxAnswerBytes: number;
  /** Deepest nesting of arrays and objects in a body. */
  readonly maxDepth: number;
  /** Most keys, arrays and objects in a body together: what costs time out of proportion to its bytes. */
  readonly maxNodes: number;
  /** Most items of a list and fields of an object in a body, but for the values of messages, which have any shape. */
  readonly maxItemsPerList: number;
  readonly maxFieldsPerObject: number;
  /** Most messages in one publish. */
  readonly maxMessagesPerRequest: number;
  /** Most headers of one message, and their names and values together as UTF-8. */
  readonly maxHeadersPerMessage: number;
  readonly maxHeaderBytesPerMessage: number;
  /** Largest key of one message as UTF-8. */
  readonly maxKeyBytes: number;
  /** Most record batches in one binary publish. */
  readonly maxBatchesPerRequest: number;
  /** Most records of all batches of a binary publish. */
  readonly maxBatchRecordsPerRequest: number;
  /** Most bytes that the compressed batches of a request, or one that is stored, may unfold to. */
  readonly maxDecompressedBytes: number;
  /** Most bytes that one compressed batch may unfold to when it is published, unless it holds one larger message. */
  readonly maxBatchDecompressedBytes: number;
  /** A batch made from published messages is closed at about this size or count. */
  readonly batchTargetBytes: number;
  readonly batchTargetMessages: number;
  /** Bounds and defaults of reads. */
  readonly maxReadMessages: number;
  readonly maxReadBytes: number;
  readonly defaultReadBytes: number;
  readonly maxWaitMs: number;
  /** Entries on a page of a list. */
  readonly maxPageEntries: number;
  readonly defaultPageEntries: number;
}

export const DEFAULT_API_LIMITS: ApiLimits = Object.freeze({
  maxBodyBytes: 16 * 1_048_576,
  maxReceivedBytes: 256 * 1_048_576,
  maxAnswerBytes: 256 * 1_048_576,
  maxDepth: 64,
  maxNodes: 1_000_000,
  maxItemsPerList: 10_000,
  maxFieldsPerObject: 1_000,
  maxMessagesPerRequest: 10_000,
  maxHeadersPerMessage: 100,
  maxHeaderBytesPerMessage: 65_536,
  maxKeyBytes: 65_536,
  maxBatchesPerRequest: 1_000,
  maxBatchRecordsPerRequest: 100_000,
  maxDecompressedBytes: 64 * 1_048_576,
  maxBatchDecompressedBytes: 8 * 1_048_576,
  batchTargetBytes: 1_048_576,
  batchTargetMessages: 1_000,
  maxReadMessages: 10_000,
  maxReadBytes: 8 * 1_048_576,
  defaultReadBytes: 1_048_576,
  maxWaitMs: 30_000,
  maxPageEntries: 1_000,
  defaultPageEntries: 100,
});
