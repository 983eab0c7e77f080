// Owns the frames of a consuming session as this side sees them, and taking a binary message frame apart.
// Refuses to own what any of them does (consumer.ts), and the records in a message frame (received.ts).
// Invariant: what parses has the shape its type says; what does not is refused with BAD_RESPONSE.
import { WaybillError } from "./errors.ts";

export interface TopicPartition {
  readonly topic: string;
  readonly partition: number;
}

export interface PartitionOffset extends TopicPartition {
  /** The next offset to read: everything below is done. */
  readonly offset: number;
}

/** Of redelivered messages below `offset` exactly those in `settles` are done. */
export interface CommitOffset extends PartitionOffset {
  readonly settles: readonly number[];
}

export interface AssignedPartition extends PartitionOffset {
  readonly leaderEpoch: number;
  /** What was committed is no longer in the log: reading starts anew. */
  readonly reset?: { readonly committed: number };
}

export interface WelcomeFrame {
  readonly type: "welcome";
  readonly memberId: string;
  readonly generation: number;
  readonly sessionTimeoutMs?: number;
  readonly resumed?: boolean;
}

export interface AssignedFrame {
  readonly type: "assigned";
  readonly generation: number;
  readonly partitions: readonly AssignedPartition[];
}

export interface ErrorFrame {
  readonly type: "error";
  readonly code: string;
  readonly detail: string;
  readonly retryable: boolean;
  readonly id?: string | number;
  readonly [detail: string]: unknown;
}

export interface MessagesFrame extends TopicPartition {
  readonly type: "messages";
  readonly highWatermark: number;
  /** Only records with an offset in [offset, nextOffset) are meant. */
  readonly offset: number;
  readonly nextOffset: number;
  /** There when it comes out of its order: above 1 a redelivery, 1 what had to wait for another of its key. */
  readonly attempt?: number;
  /** Whole record batches behind each other. */
  readonly batches: Uint8Array;
}

export type ServerFrame =
  | WelcomeFrame
  | AssignedFrame
  | ErrorFrame
  | MessagesFrame
  | { readonly type: "revoked"; readonly partitions: readonly TopicPartition[] }
  | {
    readonly type: "committed";
    readonly id?: string | number;
    readonly offsets: readonly PartitionOffset[];
  }
  | { readonly type: "nacked"; readonly id: string }
  | { readonly type: "heartbeat" }
  | { readonly type: "paused"; readonly reason: string }
  | { readonly type: "resumed" }
  | { readonly type: "withdrawn"; readonly version: string; readonly reason: string };

export type ClientFrame =
  | { readonly type: "commit"; readonly id: number; readonly offsets: readonly CommitOffset[] }
  | ({
    readonly type: "nack";
    readonly id: string;
    readonly offset: number;
    readonly code?: string;
    readonly reason?: string;
    readonly delayMs?: number;
  } & TopicPartition)
  | {
    readonly type: "pause" | "resume" | "revoked";
    readonly partitions: readonly TopicPartition[];
  }
  | { readonly type: "heartbeat" }
  | { readonly type: "leave" };

const LENGTH_BYTES = 4;
const decoder = new TextDecoder();

/** `topic/partition`: names of topics hold no slash. */
export function partitionKey(at: TopicPartition): string {
  return `${at.topic}/${at.partition}`;
}

/** Plain topic and partition of something that is more. */
export function placeOf({ topic, partition }: TopicPartition): TopicPartition {
  return { topic, partition };
}

/** A frame of the server: text is JSON; bytes are `[u32 big-endian header length][header as JSON][record batches]`. */
export function parseServerFrame(data: unknown): ServerFrame {
  if (typeof data === "string") return parseObject(data);
  if (data instanceof ArrayBuffer) return parseMessages(new Uint8Array(data));
  if (data instanceof Uint8Array) return parseMessages(data);
  throw malformed("is neither text nor bytes");
}

function parseMessages(bytes: Uint8Array): ServerFrame {
  if (bytes.length < LENGTH_BYTES) throw malformed(`is ${bytes.length} bytes long`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = LENGTH_BYTES + view.getUint32(0);
  if (end > bytes.length) throw malformed("is shorter than its header says");
  const header = parseObject(decoder.decode(bytes.subarray(LENGTH_BYTES, end)));
  if (header.type !== "messages") throw malformed(`has bytes of type ${header.type}`);
  return { ...header, batches: bytes.subarray(end) };
}

function parseObject(text: string): ServerFrame {
  let frame: unknown;
  try {
    frame = JSON.parse(text);
  } catch {
    throw malformed("is not JSON");
  }
  if (typeof frame !== "object" || frame === null || !("type" in frame)) {
    throw malformed("has no type");
  }
  return frame as ServerFrame;
}

function malformed(what: string): WaybillError {
  return new WaybillError("BAD_RESPONSE", `a frame of the broker ${what}`, { retryable: true });
}
