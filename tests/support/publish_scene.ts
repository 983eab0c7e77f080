// Owns the topic that tests of publishing write to.
// Refuses to own what they publish. Invariant: one topic, `orders`.
import assert from "node:assert/strict";
import type { ApiUnderTest } from "./api_app.ts";

export async function withTopic(api: ApiUnderTest, partitions: number, extra = {}): Promise<void> {
  const made = await api.ask("POST", "/api/topics", {
    body: { name: "orders", partitions, ...extra },
  });
  assert.equal(made.status, 201);
}
