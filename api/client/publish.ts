// Owns the publish request of ready-made batches, and reading its answer.
// Refuses to own when it is sent or sent again (sender.ts).
// Invariant: an answer that does not account for every batch is no answer.
import type { Chunk } from "./chunk.ts";
import { WaybillError } from "./errors.ts";
import { BATCH_CONTENT_TYPE, parseJson, type Transport } from "./transport.ts";

export type Acks = "all" | "leader" | "none";

export interface PublishRequest {
  readonly topic: string;
  readonly partition: number;
  /** Closed. */
  readonly chunk: Chunk;
  readonly acks: Acks;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

interface PublishAnswer {
  readonly results?: readonly {
    readonly offset?: number | null;
    readonly lastOffset?: number | null;
  }[];
}

/** Offset of the first record of each batch, in order; -1 where acks "none" leaves it open. Errors: the transport's, BAD_RESPONSE. */
export async function publishChunk(
  transport: Transport,
  request: PublishRequest,
): Promise<number[]> {
  const { topic, partition, chunk, acks } = request;
  const answer = await transport.send({
    method: "POST",
    path: `/api/topics/${encodeURIComponent(topic)}/partitions/${partition}/messages?acks=${acks}`,
    headers: { "content-type": BATCH_CONTENT_TYPE, "accept": "application/json" },
    body: chunk.body,
    timeoutMs: request.timeoutMs,
    signal: request.signal,
  });
  const { results } = parseJson<PublishAnswer>(answer);
  if (!Array.isArray(results) || results.length !== chunk.batches.length) {
    throw unclear(`does not account for ${chunk.batches.length} batches`, answer.status);
  }
  return chunk.batches.map((batch, index) => {
    const offset = results[index]?.offset;
    const lastOffset = results[index]?.lastOffset;
    if (acks === "none" && typeof offset !== "number") return -1;
    if (!Number.isSafeInteger(offset)) {
      throw unclear(`has no offset for batch ${index}`, answer.status);
    }
    if (typeof lastOffset === "number" && lastOffset - offset + 1 !== batch.count) {
      throw unclear(`has ${offset} to ${lastOffset} for ${batch.count} messages`, answer.status);
    }
    return offset as number;
  });
}

/** The messages may well have been stored; sending them again would store them twice. */
function unclear(what: string, status: number): WaybillError {
  return new WaybillError("BAD_RESPONSE", `the answer to a publish ${what}`, {
    retryable: false,
    status,
  });
}
