// Owns the frames of a consuming session: schemas of what clients send, shapes and encoding of what the server sends.
// Refuses to own what a frame does (connection.ts) and message frames, which are made where messages are read.
// Invariant: a client frame that passes its schema needs no further check of its shape.
import { z } from "zod";
import type { TopicPartition } from "../../actors/broker.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { parseJsonText } from "../json_text.ts";
import { renderData } from "../media.ts";
import { JSON_TYPE, MSGPACK_TYPE } from "../media.ts";
import { parseMsgpack } from "../msgpack_bytes.ts";
import { invalidRequest, pathText } from "../plain_data.ts";
import { STREAM_LIMITS } from "./limits.ts";

/** How frames are written. `batch`: control frames as JSON text, messages as whole record batches. */
export const STREAM_FORMATS = ["json", "msgpack", "batch"] as const;
export type StreamFormat = typeof STREAM_FORMATS[number];

/** Close codes of the server beside those of RFC 6455. */
export const CLOSE = Object.freeze({
  left: 1000,
  badFrames: 1008,
  tooSlow: 1008,
  tooFast: 1008,
  tooLarge: 1009,
  restart: 1012,
  tryAgain: 1013,
  /** No longer a member of the group: timed out, or the group is gone. Join anew. */
  removed: 4001,
  /** Another connection goes on for this member, or another member has its instanceId. Do not come back. */
  replaced: 4002,
  /** The credential has been revoked or has expired, or may not read here any more. Come back with another one. */
  unauthenticated: 4003,
});

/** What a client frame is made of. `{ offsets: [{ … }] }` is 3 deep, and has 5 nodes an offset. */
const SHAPE = {
  maxDepth: 8,
  maxItems: STREAM_LIMITS.maxPartitionsPerFrame,
  maxKeys: 100,
  maxNodes: 10 * STREAM_LIMITS.maxPartitionsPerFrame,
};
/** Bytes of a UTF-16 unit as UTF-8, at most. */
const MAX_UNIT_BYTES = 3;

const topic = z.string().min(1).max(249);
const partitionSchema = z.object({ topic, partition: z.int().min(0) });
const offset = z.int().min(0);
const commitItem = partitionSchema.extend({
  offset: offset.meta({ description: "The next offset to read." }),
  metadata: z.string().max(4_096).optional(),
  settles: z.array(offset).max(STREAM_LIMITS.maxPartitionsPerFrame).optional().meta({
    description:
      "Offsets of redelivered messages below `offset` that are done: these, and no other redelivered messages. " +
      "Without it the broker goes by the offset, see `commit`.",
  }),
});
const partitions = z.array(partitionSchema).min(1).max(STREAM_LIMITS.maxPartitionsPerFrame);
const id = z.union([z.string().max(256), z.int()]).optional()
  .meta({ description: "Comes back in the answer." });

/** Every frame that a client may send. Any of them is a sign of life. */
export const clientFrameSchema = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("commit"),
    id,
    offsets: z.array(commitItem).min(1).max(STREAM_LIMITS.maxPartitionsPerFrame),
  }).meta({
    description:
      "Everything below these offsets is done. Answered by `committed` or `error`, with the same `id`. " +
      "A redelivered message (one with `attempt`) is done when a commit names it in `settles`, or, from a client that " +
      "leaves `settles` out and handles messages in order, when a commit stands at one past it (below the committed offset " +
      "too: that moves nothing), or passes a new message that was sent after it. A commit that only passes it may have been " +
      "sent before it came: it can be nacked still, however late, and comes again to whoever reads the partition next when " +
      "the session ends before. Where retries hold up others (`blockKey`, `blockPartition`), a client that answers every " +
      "message with a commit or a nack, in order, settles a redelivered message with the commit that is its answer, whatever its " +
      "offset. A client that commits by a timer, " +
      "or past messages that it nacked, should send `settles`.",
  }),
  z.object({
    type: z.literal("nack"),
    id,
    ...partitionSchema.shape,
    offset,
    code: z.string().max(100).optional(),
    reason: z.string().max(1_000).optional(),
    delayMs: z.int().min(0).max(STREAM_LIMITS.maxRedeliveryDelayMs).optional(),
  }).meta({
    description:
      "Processing failed: the message comes again, with `attempt` one higher, after `delayMs` or else " +
      "as the group's retry policy says, to whichever member then reads the partition; after the last attempt it is a " +
      "dead letter. A commit may pass it. Answered, when it has an `id`, by `nacked` or `error`.",
  }),
  z.object({ type: z.literal("pause"), partitions }).meta({
    description: "Deliver nothing of these until `resume`, or until they are assigned anew.",
  }),
  z.object({ type: z.literal("resume"), partitions }),
  z.object({ type: z.literal("revoked"), partitions }).meta({
    description:
      "Optional: what was revoked has been stopped, whatever of it is in flight. Without it partitions are " +
      "given up when all their messages in flight are committed or nacked.",
  }),
  z.object({ type: z.literal("heartbeat") }).meta({
    description:
      "A sign of life. A client that has nothing else to say sends it at least every third of its session " +
      "timeout; WebSocket pings and pongs prove a connection, not a working consumer, and do not count.",
  }),
  z.object({ type: z.literal("leave") }).meta({
    description:
      "Leave the group at once. Commits sent before are finished first; the socket closes with 1000.",
  }),
]).meta({ id: "ClientFrame" });

export type ClientFrame = z.output<typeof clientFrameSchema>;
export type CommitFrame = Extract<ClientFrame, { type: "commit" }>;
export type NackFrame = Extract<ClientFrame, { type: "nack" }>;
export type FrameId = CommitFrame["id"];

export interface AssignedPartition extends TopicPartition {
  /** Where delivery starts or goes on. */
  readonly offset: number;
  readonly leaderEpoch: number;
  /** The committed offset was no longer in the log: delivery starts anew as autoOffsetReset says. */
  readonly reset?: { committed: number; logStartOffset: number; highWatermark: number };
}

/** Every frame of the server but `messages`. */
export type ServerFrame =
  | {
    readonly type: "welcome";
    readonly memberId: string;
    readonly generation: number;
    readonly sessionTimeoutMs: number;
    /** The group knew this member: it keeps its partitions. */
    readonly resumed: boolean;
  }
  | {
    readonly type: "assigned";
    readonly generation: number;
    readonly partitions: readonly AssignedPartition[];
  }
  | { readonly type: "revoked"; readonly partitions: readonly TopicPartition[] }
  | {
    readonly type: "committed";
    readonly id?: FrameId;
    readonly offsets: readonly (TopicPartition & { offset: number })[];
  }
  | {
    readonly type: "nacked";
    readonly id: FrameId;
    readonly topic: string;
    readonly partition: number;
    readonly offset: number;
    /** The attempt that failed. */
    readonly attempt: number;
    readonly nextAttemptAt?: number;
    readonly deadLettered?: true;
  }
  | { readonly type: "heartbeat" }
  | { readonly type: "paused"; readonly reason: string }
  | { readonly type: "resumed" }
  /** The member's version was a canary that is taken out: nothing comes until something is assigned again. */
  | { readonly type: "withdrawn"; readonly version: string; readonly reason: string }
  | {
    readonly type: "error";
    readonly code: string;
    readonly detail: string;
    readonly retryable: boolean;
    readonly id?: FrameId;
    readonly [detail: string]: unknown;
  };

/** An error as a frame: its details stand beside code and detail, as in problem bodies. */
export function errorFrame(error: BrokerError, answered: { id?: FrameId } = {}): ServerFrame {
  return {
    ...error.details,
    type: "error",
    code: error.code,
    detail: error.message,
    retryable: error.retryable,
    ...(answered.id === undefined ? {} : { id: answered.id }),
  };
}

/** A frame as it goes onto the wire: text, or bytes for msgpack. */
export function encodeFrame(frame: unknown, format: StreamFormat): string | Uint8Array {
  return renderData(frame, format === "msgpack" ? MSGPACK_TYPE : JSON_TYPE);
}

const encoder = new TextEncoder();

/**
 * A client's frame: text is JSON, bytes are MessagePack, whatever the format of the session.
 * Throws INVALID_REQUEST with the path of the fault, REQUEST_TOO_LARGE above `maxFrameBytes`.
 */
export function parseClientFrame(
  data: string | Uint8Array,
  limits: { maxFrameBytes: number },
): ClientFrame {
  if (isLarger(data, limits.maxFrameBytes)) {
    const bound = limits.maxFrameBytes;
    throw new BrokerError("REQUEST_TOO_LARGE", `the frame is larger than ${bound} bytes`);
  }
  const parsed = typeof data === "string" ? parseJsonText(data, SHAPE) : parseMsgpack(data, SHAPE);
  const result = clientFrameSchema.safeParse(parsed);
  if (result.success) return refuseRepeats(result.data);
  throw invalidRequest(
    result.error.issues.slice(0, MAX_FAULTS).map((issue) => ({
      path: pathText(issue.path),
      message: issue.message,
    })),
  );
}

const MAX_FAULTS = 10;

/** To encode a text only to count it is left out where it cannot matter. */
function isLarger(data: string | Uint8Array, maxBytes: number): boolean {
  if (data.length > maxBytes) return true;
  if (typeof data !== "string" || data.length * MAX_UNIT_BYTES <= maxBytes) return false;
  return encoder.encode(data).length > maxBytes;
}

/** Two offsets for one partition in one commit contradict each other. */
function refuseRepeats(frame: ClientFrame): ClientFrame {
  if (frame.type !== "commit" || frame.offsets.length === 1) return frame;
  const seen = new Map<string, Set<number>>();
  for (const { topic, partition } of frame.offsets) {
    let ofTopic = seen.get(topic);
    if (ofTopic === undefined) seen.set(topic, ofTopic = new Set());
    if (ofTopic.has(partition)) {
      throw invalidRequest([{ path: "offsets", message: "a partition occurs more than once" }]);
    }
    ofTopic.add(partition);
  }
  return frame;
}
