// Owns streaming messages as NDJSON, one a line, no faster than the caller reads.
// Refuses to own where messages come from (a fetch function) and how one looks (message.ts).
// Invariant: holds one fetch and one chunk of lines at a time, whatever the caller does.
import type { FetchResult, TopicPartition } from "../actors/broker.ts";
import { messageJson } from "./message.ts";
import { type ReaderBounds, RecordReader } from "./record_reader.ts";

/** UTF-16 units of lines that make a chunk. */
const CHUNK_UNITS = 65_536;

export interface MessageLinesOptions {
  readonly at: TopicPartition;
  readonly bounds: ReaderBounds;
  /** What was found at `bounds.offset`. */
  readonly first: FetchResult;
  readonly fetchFrom: (offset: number) => Promise<FetchResult>;
  readonly yieldToEventLoop: () => Promise<void>;
  /** Hears why the stream broke off: by then the status has been sent. */
  readonly onError: (error: unknown) => void;
  /** Nothing of it is in memory any more. */
  readonly onEnd: () => void;
}

/** Lines until a bound or the end of the partition is reached; breaks off with the error of a failed fetch. */
export function messageLines(
  options: MessageLinesOptions,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const chunks = chunksOf(options);
  const encoder = new TextEncoder();
  let isCancelled = false;
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await chunks.next();
        if (!done && !isCancelled) return controller.enqueue(encoder.encode(value));
        options.onEnd();
        if (!isCancelled) controller.close();
      } catch (error) {
        options.onEnd();
        if (isCancelled) return;
        options.onError(error);
        controller.error(error);
      }
    },
    async cancel() {
      isCancelled = true;
      options.onEnd();
      await chunks.return(undefined);
    },
  });
}

async function* chunksOf(options: MessageLinesOptions): AsyncGenerator<string, void, undefined> {
  const reader = new RecordReader(options.bounds);
  let fetched = options.first;
  let from = options.bounds.offset;
  while (fetched.batches.length > 0) {
    let chunk = "";
    for (const record of reader.records(fetched)) {
      chunk += messageJson(record, options.at) + "\n";
      if (chunk.length < CHUNK_UNITS) continue;
      yield chunk;
      chunk = "";
      await options.yieldToEventLoop();
    }
    if (chunk !== "") yield chunk;
    if (reader.full || reader.nextOffset === from) return;
    from = reader.nextOffset;
    fetched = await options.fetchFrom(reader.nextOffset);
  }
}
