// Owns the tests that jobs are held to the publish quota of their owner's tenant.
// Refuses to own what is published directly (quota_api_test.ts). Invariant: a whole broker in memory, virtual time.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { JobRequest } from "../actors/job/types.ts";
import { NO_LIMITS, type QuotaLimits } from "../actors/quota/types.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const MESSAGES = 400;
const VALUE_BYTES = 100;
const OWNER = { principal: "p", tenant: "evil" };

/** Time that two replays of all take at once, ms. */
async function takes(limits: Partial<QuotaLimits>, owner: JobRequest["owner"]): Promise<number> {
  const time = new VirtualClock();
  const broker = await memoryBrokerStores({ time }).open();
  for (const name of ["from", "to"]) {
    await broker.createTopic({ name, partitions: 1, config: TOPIC_CONFIG });
  }
  const value = "x".repeat(VALUE_BYTES);
  const records = Array.from({ length: MESSAGES }, () => ({
    key: null,
    value,
    headers: [],
    timestamp: time.now(),
  }));
  const at = { topic: "from", partition: 0 };
  for (let from = 0; from < MESSAGES; from += 50) {
    const batch = encodeBatch(records.slice(from, from + 50), { crc32c });
    await broker.append(at, [batch], { acks: "all" });
  }
  const quota = { tenant: OWNER.tenant, updatedBy: "tests" };
  await broker.quotas.put({ ...quota, limits: { ...NO_LIMITS, ...limits } });
  const startedAt = time.monotonic();
  for (const jobId of ["one", "two"]) {
    await broker.jobs.submit({
      jobId,
      fingerprint: "f",
      principal: "tests",
      ...(owner === undefined ? {} : { owner }),
      reason: null,
      dryRun: false,
      kind: "replay",
      ...at,
      ratePerSecond: 100,
      from: { kind: "earliest" },
      to: { kind: "latest" },
      target: { topic: "to" },
    });
  }
  const sent = async () =>
    (await broker.partitionInfo({ topic: "to", partition: 0 })).highWatermark;
  while (await sent() < 2 * MESSAGES) {
    assert.ok(time.monotonic() - startedAt < 60_000, `${await sent()} messages in a minute`);
    await time.advance(50);
  }
  const tookMs = time.monotonic() - startedAt;
  await broker.close();
  return tookMs;
}

Deno.test("jobs of a tenant together publish no faster than its quota of messages and of bytes, those of others as they ask", async () => {
  const free = await takes({}, OWNER);
  assert.ok(free < 6_000, `${free} ms without a quota`);
  const byMessages = await takes({ publishMessagesPerSecond: 50 }, OWNER);
  assert.ok(byMessages >= 13_000 && byMessages < 25_000, `${byMessages} ms for messages`);
  const byBytes = await takes({ publishBytesPerSecond: 5_000 }, OWNER);
  assert.ok(byBytes >= 13_000 && byBytes < 25_000, `${byBytes} ms for bytes`);
  const another = await takes({ publishMessagesPerSecond: 50 }, { ...OWNER, tenant: "good" });
  assert.ok(another < 6_000, `${another} ms for another tenant`);
});
