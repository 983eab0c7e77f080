// Owns a broker in memory and in virtual time with the runbooks that are shipped, and a group to be repaired.
// Refuses to own what runbooks do. Invariant: what they do, they do to a real broker.
import { crc32c } from "@node-rs/crc32";
import type { ExecutionRequest } from "../../actors/runbook/types.ts";
import { allRunbooks } from "../../ops/runbooks/install.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import { TOPIC_CONFIG } from "./memory_broker.ts";
import { runbookScene } from "./runbook_scene.ts";

export const AT = { topic: "orders", partition: 0 };

export async function scene() {
  const made = await runbookScene(allRunbooks);
  const { broker, time } = made;
  await broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  const publish = async (count: number) => {
    const records = Array.from({ length: count }, (_, index) => ({
      key: new TextEncoder().encode(index % 4 === 0 ? "cold" : "hot"),
      value: new TextEncoder().encode(`value ${index}`),
      headers: [],
      timestamp: time.now(),
    }));
    await broker.append(AT, [encodeBatch(records, { crc32c })], { acks: "all" });
  };
  const join = (memberId: string, version?: string) =>
    broker.group({
      ...(version === undefined ? {} : { version }),
      type: "Join",
      group: "billing",
      newMemberId: memberId,
      topics: ["orders"],
      sessionTimeoutMs: 3_600_000,
      transport: "http",
      partitionCounts: { orders: 1 },
    });
  const commit = (offset: number, memberId?: string, generation?: number) =>
    broker.group({
      type: "CommitOffsets",
      group: "billing",
      offsets: [{ ...AT, offset, endOffset: 1_000 }],
      allowRewind: true,
      reason: "a test",
      principal: "bob",
      ...(memberId === undefined ? {} : { memberId }),
      ...(generation === undefined ? {} : { generation }),
    });
  const committed = async () =>
    (await broker.group({ type: "Describe", group: "billing" })).offsets[0]?.offset;
  const paused = async () =>
    (await broker.group({ type: "Describe", group: "billing" })).paused !== null;
  const run = async (name: string, more: Partial<ExecutionRequest> = {}) =>
    (await made.execute(name, more)).executionId;
  return { ...made, publish, join, commit, committed, paused, run };
}
