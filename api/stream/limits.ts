// Owns the named bounds of consuming as a group member, over WebSocket and HTTP.
// Refuses to own bounds of single requests in general (the edge has its own).
// Invariant: every queue, buffer, loop and retry below api/stream and api/members takes its bound from here.

const KIB = 1_024;
const MIB = 1_024 * KIB;

/** Bounds of the WebSocket sessions of one broker. */
export interface StreamLimits {
  /** Sessions of one broker; one more gets OVERLOADED. */
  readonly maxSessions: number;
  /** Of those a tenant has no more than this share: the rest is for others, and administrators. */
  readonly maxTenantShare: number;
  readonly maxTopics: number;
  /** A socket that has not opened by then never will: whoever resets it during the handshake is not told of. */
  readonly openTimeoutMs: number;
  /** Largest `maxInFlight` a client may ask for. */
  readonly maxInFlight: number;
  readonly minSessionTimeoutMs: number;
  readonly maxSessionTimeoutMs: number;
  /** Largest `maxBatchBytes` a client may ask for. */
  readonly maxBatchBytes: number;
  /** Nothing is delivered to a socket while more bytes than this wait in it. */
  readonly maxBufferedBytes: number;
  /** A client that makes the server answer without reading is closed (1008) above this. */
  readonly maxUnreadBytes: number;
  /** While all sockets together buffer more, only those that buffer nothing are served. */
  readonly maxTotalBufferedBytes: number;
  /** While they buffer so much that even those would fill memory, a frame each, nobody is: the door ends who does not read. */
  readonly maxBufferedAtAllBytes: number;
  /** Bytes of one turn while they do, whatever `maxBatchBytes` says; one message or batch is always sent. */
  readonly tightTurnBytes: number;
  /** While they do, a client that makes the server talk is closed (1008) when so much of that waits for it already. */
  readonly maxTightUnreadBytes: number;
  /** A socket that was too full is looked at again after this, and then less and less often. */
  readonly backpressurePollMs: number;
  /** Fetched bytes that one session keeps because its window was too small for them. */
  readonly maxHeldBytes: number;
  /** The same of all sessions together: beyond it nothing is kept, and little is fetched at once. */
  readonly maxTotalHeldBytes: number;
  /** Largest record batch after decompression. */
  readonly maxDecompressedBytes: number;
  /** A batch that has to be sent again for the rest of it waits this long for a wider window. */
  readonly narrowLingerMs: number;
  /** Retries that one session has taken from its group and not sent yet. */
  readonly maxTakenRetries: number;
  /** Nacks of one session that wait for the ones under way. */
  readonly maxQueuedNacks: number;
  readonly maxRedeliveryDelayMs: number;
  /** Commit frames of one session that wait for the one under way. */
  readonly maxQueuedCommits: number;
  /** What they hold in memory together, roughly; one alone may hold more. */
  readonly maxQueuedCommitBytes: number;
  /** Partitions in one frame. */
  readonly maxPartitionsPerFrame: number;
  /** Largest frame of a client; a larger one closes with 1009. */
  readonly maxFrameBytes: number;
  /** Frames of one client are let in no faster than this, in bytes and some for each frame. */
  readonly maxFrameBytesPerSecond: number;
  /** Frames of one client that wait for that, or for its tenant's quota; with more it is closed (1008). */
  readonly maxWaitingFrameBytes: number;
  /** This many bad frames in a row close with 1008. */
  readonly maxBadFrames: number;
  /** How often all sessions are swept for heartbeats, silence and automatic commits. */
  readonly sweepMs: number;
  readonly autoCommitMs: number;
  /** The same while the window is more than half full. */
  readonly busyAutoCommitMs: number;
  /** A heartbeat is passed on to the group when this share of the session timeout has gone by since the last. */
  readonly heartbeatShare: number;
  /** Messages in flight of a revoked partition are waited for no longer than this; the group's own grace is shorter. */
  readonly revokingMs: number;
  /** Frames that may arrive while the member joins, together no larger than one may be. */
  readonly maxEarlyFrames: number;
  /** Wait before a partition that could not be read, or positioned, is tried again. */
  readonly retryMs: number;
  /** Longest wait for data behind which waiting is renewed. */
  readonly dataWaitMs: number;
  /** A client that was closed and is not gone after this is cut off: what it does not read would stay in memory. */
  readonly closeTimeoutMs: number;
  /** Commits under way are waited for at most this long when a session ends. */
  readonly flushTimeoutMs: number;
}

export const STREAM_LIMITS: StreamLimits = Object.freeze({
  maxSessions: 20_000,
  maxTenantShare: 0.75,
  maxTopics: 100,
  openTimeoutMs: 10_000,
  maxInFlight: 100_000,
  minSessionTimeoutMs: 1_000,
  maxSessionTimeoutMs: 600_000,
  maxBatchBytes: 8 * MIB,
  maxBufferedBytes: 4 * MIB,
  maxUnreadBytes: 16 * MIB,
  // Resident memory is several times as much: the runtime copies a frame before it sends it.
  maxTotalBufferedBytes: 128 * MIB,
  maxBufferedAtAllBytes: 384 * MIB,
  tightTurnBytes: 64 * KIB,
  maxTightUnreadBytes: MIB,
  backpressurePollMs: 25,
  maxHeldBytes: 4 * MIB,
  maxTotalHeldBytes: 256 * MIB,
  maxDecompressedBytes: 64 * MIB,
  narrowLingerMs: 20,
  maxTakenRetries: 500,
  maxQueuedNacks: 10_000,
  maxRedeliveryDelayMs: 24 * 3_600_000,
  maxQueuedCommits: 1_000,
  maxQueuedCommitBytes: 4 * MIB,
  maxPartitionsPerFrame: 10_000,
  maxFrameBytes: MIB,
  maxFrameBytesPerSecond: 4 * MIB,
  maxWaitingFrameBytes: 4 * MIB,
  maxBadFrames: 10,
  sweepMs: 500,
  autoCommitMs: 1_000,
  busyAutoCommitMs: 10,
  heartbeatShare: 0.1,
  revokingMs: 10_000,
  maxEarlyFrames: 100,
  retryMs: 1_000,
  dataWaitMs: 60_000,
  closeTimeoutMs: 5_000,
  flushTimeoutMs: 5_000,
});

export const DEFAULT_MAX_IN_FLIGHT = 1_000;
export const DEFAULT_SESSION_TIMEOUT_MS = 30_000;
/** Of messages that are decoded for the client (json, msgpack). */
export const DEFAULT_TURN_BYTES = 256 * KIB;
/** Of whole record batches (format=batch). */
export const DEFAULT_BATCH_TURN_BYTES = MIB;
