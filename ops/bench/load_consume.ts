// Owns consuming over WebSocket in each format, counting what arrives.
// Refuses to own group semantics beyond reading and committing. Invariant: batch frames are walked record by record as
// far as their counts, so that a figure is of messages and not of bytes.
import { decode, encode } from "@msgpack/msgpack";
import { batchSpans, recordCountAt } from "../../storage/format/record_batch.ts";
import type { ConsumeSpec, LoadResult } from "./load_spec.ts";

interface MessagesFrame {
  readonly type: string;
  readonly topic: string;
  readonly partition: number;
  readonly messages?: readonly { readonly offset: number; readonly value: unknown }[];
  readonly nextOffset?: number;
}

export function runConsume(spec: ConsumeSpec): Promise<LoadResult> {
  const { promise, resolve, reject } = Promise.withResolvers<LoadResult>();
  const query = new URLSearchParams({
    topics: spec.topic,
    format: spec.format,
    autoOffsetReset: "earliest",
    maxInFlight: String(spec.maxInFlight),
  });
  const socket = new WebSocket(
    `${spec.url.replace("http", "ws")}/api/groups/${spec.group}/stream?${query}`,
  );
  socket.binaryType = "arraybuffer";
  let started = 0;
  let messages = 0;
  let bytes = 0;
  socket.onerror = () => reject(new Error("the stream failed"));
  socket.onclose = ({ code }) => reject(new Error(`the stream was closed with ${code}`));
  socket.onmessage = ({ data }) => {
    const { frame, count } = read(spec.format, data);
    if (frame.type === "error") return reject(new Error(JSON.stringify(frame)));
    if (frame.type !== "messages") return;
    if (started === 0) started = performance.now();
    messages += count;
    bytes += typeof data === "string" ? data.length : data.byteLength;
    commit(socket, spec, frame);
    if (messages < spec.messages) return;
    const ms = performance.now() - started;
    socket.onclose = null;
    socket.close();
    resolve({ messages, bytes, ms, latency: null, refused: 0 });
  };
  return promise;
}

function read(
  format: ConsumeSpec["format"],
  data: string | ArrayBuffer,
): { frame: MessagesFrame; count: number } {
  if (typeof data === "string") {
    const frame: MessagesFrame = JSON.parse(data);
    return { frame, count: frame.messages?.length ?? 0 };
  }
  const bytes = new Uint8Array(data);
  if (format === "msgpack") {
    const frame = decode(bytes) as MessagesFrame;
    return { frame, count: frame.messages?.length ?? 0 };
  }
  const headerBytes = new DataView(data).getUint32(0);
  const frame: MessagesFrame = JSON.parse(
    new TextDecoder().decode(bytes.subarray(4, 4 + headerBytes)),
  );
  let count = 0;
  const batches = bytes.subarray(4 + headerBytes);
  for (const { at } of batchSpans(batches)) count += recordCountAt(batches, at);
  return { frame, count };
}

function commit(socket: WebSocket, spec: ConsumeSpec, frame: MessagesFrame): void {
  const offset = frame.nextOffset ?? frame.messages!.at(-1)!.offset + 1;
  const data = {
    type: "commit",
    offsets: [{ topic: frame.topic, partition: frame.partition, offset }],
  };
  socket.send(spec.format === "msgpack" ? encode(data) : JSON.stringify(data));
}
