// Owns proof that a list of groups is whole or refused: none is left out because its partition cannot be served.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import type { LogStore } from "../storage/log.ts";
import { MemoryLogStore } from "../storage/memory/memory_log.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { apiUnderTest } from "./support/api_app.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

Deno.test("groups are not listed while a partition of __groups is offline", async () => {
  const time = new VirtualClock();
  const below = new MemoryLogStore(time);
  const locked = new Set<string>();
  const logs: LogStore = {
    open: async (name, config) => {
      if (!locked.has(name)) return await below.open(name, config);
      throw new BrokerError("ENCRYPTION_KEY_UNAVAILABLE", "the key that wraps it is not here");
    },
    remove: (name) => below.remove(name),
    list: (prefix) => below.list(prefix),
  };
  const metadata = new MemoryMetadataStore({ timers: time, randomness: seededRandomness(1) });
  const first = await apiUnderTest({ time, logs, metadata });
  for (const group of ["billing", "shipping", "mail", "search"]) {
    const path = `/api/groups/${group}/retry-policy`;
    assert.equal((await first.ask("PUT", path, { body: { maxAttempts: 3 } })).status, 200);
  }
  assert.equal((await first.ask("GET", "/api/groups")).body.groups.length, 4);
  const { topicId } = first.broker.topic("__groups")!;
  await first.close();
  locked.add(`topics/${topicId}/1`);
  const second = await apiUnderTest({ time, logs, metadata });
  const { status, body } = await second.ask("GET", "/api/groups");
  assert.deepEqual([status, body.code, body.retryable], [503, "ACTOR_DOWN", true]);
  // What else looks at groups goes on with those that are served.
  assert.ok((await second.broker.groups()).length < 4);
  await second.close();
});
