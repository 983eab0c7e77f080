// Owns what tests of groups' routes begin with: the topic `orders` with messages, the group `billing`, its members.
// Refuses to own any expectation. Invariant: everything but a member's session goes through the API.
import { type Answer, type ApiUnderTest, apiUnderTest } from "./api_app.ts";

/** An API whose `orders` has as many messages in each partition as `counts` says. */
export async function withMessages(counts: readonly number[]): Promise<ApiUnderTest> {
  const api = await apiUnderTest();
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: counts.length } });
  for (const [partition, count] of counts.entries()) {
    if (count > 0) await publish(api, count, partition);
  }
  return api;
}

/** `count` messages more. */
export function publish(api: ApiUnderTest, count: number, partition = 0): Promise<Answer> {
  const messages = Array.from({ length: count }, (_, i) => ({ value: `${i}`, partition }));
  return api.ask("POST", "/api/messages:publish", { body: { topic: "orders", messages } });
}

/** Commits the n-th of `offsets` for partition n. */
export function commit(
  api: ApiUnderTest,
  offsets: readonly number[],
  extra: Record<string, unknown> = {},
): Promise<Answer> {
  const entries = offsets.map((offset, partition) => ({ topic: "orders", partition, offset }));
  const body = { groupId: "billing", offsets: entries, ...extra };
  return api.ask("POST", "/api/offsets:commit", { body });
}

/** A member as a session of the broker would make it; resolves to the generation that it is in. */
export async function joined(api: ApiUnderTest, memberId: string): Promise<number> {
  await api.broker.group({
    type: "Join",
    group: "billing",
    newMemberId: memberId,
    topics: ["orders"],
    sessionTimeoutMs: 600_000,
    transport: "http",
    partitionCounts: { orders: api.broker.topic("orders")!.partitionCount },
  });
  await api.time.advance(5_000);
  return (await api.ask("GET", "/api/groups/billing")).body.generation;
}
