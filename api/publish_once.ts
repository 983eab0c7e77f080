// Owns a publish with an Idempotency-Key: which parts of it are found again by the request's own mark, and which otherwise.
// Refuses to own how a publish is carried out (routes/publish.ts) and what is known of keys (request_once.ts).
// Invariant: a repeat is prepared as the first attempt was, so that every message goes where it went.
import type { Broker } from "../actors/broker.ts";
import type { Access } from "./auth/access.ts";
import { invalidRequest } from "./plain_data.ts";
import type { PreparedPublish, RawPublish } from "./publish_preparation.ts";
import { bodyHashOf, carryOutOnce, chanceOf, type OnceAppend } from "./request_once.ts";
import type { Reply } from "./route.ts";

/** A publish that has an Idempotency-Key, as it came. */
export interface KeyedPublish {
  readonly key: string;
  readonly raw: RawPublish;
}

/** Carries the publish out unless it was answered before. Rejects as `carryOutOnce`. */
export async function publishOnce(
  broker: Broker,
  { key, raw }: KeyedPublish,
  { access, prepare, carryOut }: {
    access: Pick<Access, "principal" | "tenant">;
    prepare: (raw: RawPublish) => Promise<PreparedPublish>;
    /** `append` is for shares whose messages have no keys of their own. */
    carryOut(prepared: PreparedPublish, append?: OnceAppend): Promise<Reply>;
  },
): Promise<Reply> {
  const { principal, tenant } = access;
  const named = { principal, tenant, key, bodyHash: await bodyHashOf(raw.bytes) };
  const chance = chanceOf(key);
  return await carryOutOnce(broker, named, async (partitionCount) => {
    const once = partitionCount === undefined ? { chance } : { chance, partitionCount };
    const prepared = await prepare({ ...raw, once });
    const isMarked = isMarkable(prepared);
    return {
      topic: prepared.request.topic,
      partitionCount: prepared.topic.partitionCount,
      partitions: isMarked ? unkeyedPartitions(prepared) : [],
      run: async (append) => {
        const { status = 200, data } = await carryOut(prepared, isMarked ? append : undefined);
        return { status, data, isWhole: status === 200 };
      },
    };
  });
}

/** What has sequence numbers is known again by them. */
function isMarkable({ request: { transactionId, sequence } }: PreparedPublish): boolean {
  if (sequence !== undefined) return false;
  if (transactionId === undefined) return true;
  const message = "within a transaction, partition and sequence are needed as well";
  throw invalidRequest([{ path: "Idempotency-Key", message }]);
}

function unkeyedPartitions({ shares }: PreparedPublish): number[] {
  return shares.filter(({ keys }) => keys === undefined).map(({ partition }) => partition);
}
