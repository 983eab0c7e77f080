// Owns proof that members hear where they stand when their group's journal failed under a change that it kept.
// Refuses to own what is decided at an end of a session (group_sessions_test.ts).
import assert from "node:assert/strict";
import type { GroupNotification } from "../actors/group/types.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { FaultyLogStore } from "./support/faulty_logs.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const GROUP = "billing";
const SESSION_MS = 10_000;

Deno.test("a member whose end was kept by a journal that failed hears of it, before others read on, and nobody else does", async () => {
  const time = new VirtualClock();
  const logs = new FaultyLogStore(new MemoryLogStore(time));
  const broker = await memoryBrokerStores({ time, logs }).open();
  await broker.createTopic({ name: "orders", partitions: 2, config: TOPIC_CONFIG });
  const heard: string[] = [];
  const hear = (memberId: string) =>
    broker.onGroupNotification({ group: GROUP, memberId }, (word: GroupNotification) => {
      const partitions = "partitions" in word ? word.partitions.length : "";
      heard.push(`${memberId} ${word.type} ${partitions}`.trim());
    });
  for (const newMemberId of ["dies", "lives"]) {
    hear(newMemberId);
    await broker.group({
      type: "Join",
      group: GROUP,
      newMemberId,
      topics: ["orders"],
      sessionTimeoutMs: SESSION_MS,
      transport: "http",
      partitionCounts: { orders: 2 },
    });
  }
  // One that has not joined yet is no member that was lost.
  hear("comes");
  const beat = () => broker.group({ type: "Heartbeat", group: GROUP, memberId: "lives" });
  for (let passedMs = 0; passedMs < SESSION_MS - 1_000; passedMs += 1_000) {
    await time.advance(1_000);
    await beat();
  }
  heard.length = 0;
  logs.nextFault = "KEPT_BUT_FAILED";
  await time.advance(SESSION_MS);
  assert.equal(logs.nextFault, null);
  const news = heard.filter((word) => !word.endsWith("resumed"));
  assert.equal(news[0], "dies removed");
  assert.equal(news.at(-1), "lives assigned 2");
  assert.deepEqual(news.filter((word) => word.includes("removed")), ["dies removed"]);
  const { members } = await broker.group({ type: "Describe", group: GROUP });
  assert.deepEqual(members.map(({ memberId }) => memberId), ["lives"]);
  await broker.close();
});
