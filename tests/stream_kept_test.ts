// Owns proof that what sessions have fetched and not delivered is counted over all of them, bounded, and given back.
import assert from "node:assert/strict";
import { HeldPartition } from "../api/stream/held_partition.ts";
import { KeptSources } from "../api/stream/kept_sources.ts";
import { BufferBudget } from "../api/stream/outbox.ts";
import type { Source } from "../api/stream/parcels.ts";
import { StreamWorld } from "./support/stream_fakes.ts";

const KIB = 1_024;
const held = (partition: number) => new HeldPartition({ topic: "orders", partition });
const source = (sizeBytes: number) => ({ sizeBytes }) as Source;

Deno.test("a session keeps the last of what it fetched, and of the others what fits", () => {
  const budget = new BufferBudget();
  const limits = { maxHeldBytes: 100, maxTotalHeldBytes: 1_000 };
  const kept = new KeptSources({ budget, limits });
  const [a, b, c] = [held(0), held(1), held(2)];
  kept.keep(a!, source(60));
  kept.keep(b!, source(30));
  kept.keep(a!, source(50));
  assert.equal(budget.keptBytes, 80);
  kept.keep(c!, source(40));
  assert.deepEqual([a, b, c].map((each) => kept.get(each!)?.sizeBytes), [50, undefined, 40]);
  kept.keep(b!, source(500));
  assert.deepEqual([a, b, c].map((each) => kept.get(each!)?.sizeBytes), [
    undefined,
    500,
    undefined,
  ]);
  kept.delete(b!);
  kept.delete(b!);
  assert.equal(budget.keptBytes, 0);
});

Deno.test("while all sessions keep too much, none keeps more, and there is room when one lets go", () => {
  const budget = new BufferBudget();
  const limits = { maxHeldBytes: 100, maxTotalHeldBytes: 150 };
  const [first, second, third] = [0, 1, 2].map(() => new KeptSources({ budget, limits }));
  const at = held(0);
  first!.keep(at, source(100));
  second!.keep(at, source(80));
  assert.ok(third!.isFull);
  third!.keep(at, source(10));
  assert.equal(third!.get(at), undefined);
  // It may not replace what it has either.
  second!.keep(at, source(80));
  first!.clear();
  third!.keep(at, source(10));
  assert.equal(third!.get(at)?.sizeBytes, 10);
  assert.equal(budget.keptBytes, 90);
});

Deno.test("sessions with narrow windows keep no more together than they may, and come to every message", async () => {
  const maxTotalHeldBytes = 300 * KIB;
  const world = await StreamWorld.open({ limits: { maxTotalHeldBytes } });
  for (let batch = 0; batch < 20; batch++) await world.publish(10, { bytes: 10 * KIB });
  const { budget } = world.hub.services;
  const groups = ["a", "b", "c", "d", "e", "f"];
  const clients = await Promise.all(
    groups.map((group) => world.consumer({ group, maxInFlight: 5, maxBatchBytes: 1_024 * KIB })),
  );
  let mostBytes = 0;
  for (let turn = 0; turn < 40; turn++) {
    for (const client of clients) {
      await world.until(() => client.messages().length === 5 * (turn + 1), `turn ${turn}`);
      client.commit(client.offsets().at(-1)! + 1);
      mostBytes = Math.max(mostBytes, budget.keptBytes);
    }
  }
  const all = Array.from({ length: 200 }, (_, offset) => offset);
  for (const client of clients) assert.deepEqual(client.offsets(), all);
  assert.ok(mostBytes > 100 * KIB, `${mostBytes} bytes were kept`);
  // The one that fills it up may be larger.
  assert.ok(mostBytes < maxTotalHeldBytes + 1_124 * KIB, `${mostBytes} bytes were kept`);
  for (const client of clients) await client.gone();
  assert.equal(budget.keptBytes, 0);
  await world.close();
});
