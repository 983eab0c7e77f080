// Owns consumers whose messages fail, over a whole broker in memory and in virtual time: publishing, policies, nacks.
// Refuses to own what is to come of it. Invariant: every test ends with its world closed.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { DEFAULT_RETRY_POLICY } from "../../actors/group/retry/policy.ts";
import type { RetryPolicy } from "../../actors/group/retry/types.ts";
import { decodeBatch } from "../../storage/format/decode.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import { batchSpans } from "../../storage/format/record_batch.ts";
import { type FakeClient, type Frame, StreamWorld } from "./stream_fakes.ts";

export const AT = { topic: "orders", partition: 0 };

export function retries(
  name: string,
  run: (world: StreamWorld) => Promise<void>,
  options: Parameters<typeof StreamWorld.open>[0] = {},
): void {
  Deno.test(name, async () => {
    const world = await StreamWorld.open(options);
    try {
      await run(world);
      assert.deepEqual(world.faults, []);
    } finally {
      await world.close();
    }
  });
}

/** One batch; `keys[i]` is the key of message i. */
export async function publishKeys(world: StreamWorld, ...keys: (string | null)[]): Promise<void> {
  const records = keys.map((key) => ({
    key,
    value: `of ${key}`,
    headers: [],
    timestamp: world.time.now(),
  }));
  await world.broker.append(AT, [encodeBatch(records, { crc32c })], { acks: "all" });
  await world.calm();
}

export async function setPolicy(world: StreamWorld, policy: Partial<RetryPolicy>): Promise<void> {
  await world.broker.group({
    type: "SetRetryPolicy",
    group: "billing",
    policy: { ...DEFAULT_RETRY_POLICY, jitterMs: 0, ...policy },
    principal: "tests",
  });
  await world.calm();
}

/** `offset` of a first delivery, `offset#attempt` of another. */
export function seen(client: FakeClient): string[] {
  return client.messages().map(({ offset, attempt }: Frame) =>
    attempt === undefined ? `${offset}` : `${offset}#${attempt}`
  );
}

export async function nack(world: StreamWorld, client: FakeClient, offset: number, more = {}) {
  client.send({ type: "nack", ...AT, offset, ...more });
  await world.calm();
}

export async function deadLetters(world: StreamWorld): Promise<number> {
  if (world.broker.topic("dlq.orders") === null) return 0;
  const { highWatermark } = await world.broker.partitionInfo({ topic: "dlq.orders", partition: 0 });
  return highWatermark;
}

/** As `seen`, of whole batches: the messages that a frame says it is about. */
export function batched(client: FakeClient): string[] {
  return client.ofType("messages").flatMap(({ batches, offset, nextOffset, attempt }: Frame) =>
    [...batchSpans(batches)].flatMap(({ at }) =>
      decodeBatch(batches, at, { maxDecompressedBytes: 1_000_000 })
        .filter((record) => record.offset >= offset && record.offset < nextOffset)
        .map((record) => attempt === undefined ? `${record.offset}` : `${record.offset}#${attempt}`)
    )
  );
}

/** As a chunk of a replay to the group does. */
export async function redeliver(world: StreamWorld, offsets: readonly number[]): Promise<void> {
  const chunk = { jobId: "job", chunk: 0 };
  await world.broker.group({ type: "Redeliver", group: "billing", ...chunk, ...AT, offsets });
}
