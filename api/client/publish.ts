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
  /** Node id of the partition's leader, where it is known. */
  readonly leader: string | null;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

interface PublishAnswer {
  readonly results?: readonly {
    readonly offset?: number | null;
    readonly lastOffset?: number | null;
    readonly records?: readonly PlacedRecord[];
  }[];
}

export interface PlacedRecord {
  readonly partition: number;
  readonly offset: number;
  readonly duplicate: boolean;
}

/** Where a batch was stored. */
export interface PlacedBatch {
  /** Of its first record; -1 where acks "none" leaves it open. */
  readonly offset: number;
  /** Of each record, when some of them were known by their keys before. */
  readonly records?: readonly PlacedRecord[];
}

/** Where each batch was stored, in order. Errors: the transport's, BAD_RESPONSE. */
export async function publishChunk(
  transport: Transport,
  request: PublishRequest,
): Promise<PlacedBatch[]> {
  const { topic, partition, chunk, acks } = request;
  const answer = await transport.send({
    method: "POST",
    path: `/api/topics/${encodeURIComponent(topic)}/partitions/${partition}/messages?acks=${acks}`,
    headers: { "content-type": BATCH_CONTENT_TYPE, "accept": "application/json" },
    body: chunk.body,
    timeoutMs: request.timeoutMs,
    signal: request.signal,
    ...(request.leader === null ? {} : { leader: request.leader }),
  });
  const { results } = parseJson<PublishAnswer>(answer);
  if (!Array.isArray(results) || results.length !== chunk.batches.length) {
    throw unclear(`does not account for ${chunk.batches.length} batches`, answer.status);
  }
  return chunk.batches.map((batch, index) => {
    const { offset, lastOffset, records } = results[index] ?? {};
    if (acks === "none" && typeof offset !== "number") return { offset: -1 };
    if (!Number.isSafeInteger(offset)) {
      throw unclear(`has no offset for batch ${index}`, answer.status);
    }
    if (records !== undefined) {
      if (records.length === batch.count) return { offset: offset as number, records };
      throw unclear(`tells of ${records.length} of ${batch.count} messages`, answer.status);
    }
    if (typeof lastOffset === "number" && lastOffset - offset + 1 !== batch.count) {
      throw unclear(`has ${offset} to ${lastOffset} for ${batch.count} messages`, answer.status);
    }
    return { offset: offset as number };
  });
}

/** The messages may well have been stored; sending them again would store them twice. */
function unclear(what: string, status: number): WaybillError {
  return new WaybillError("BAD_RESPONSE", `the answer to a publish ${what}`, {
    retryable: false,
    status,
  });
}
