// Owns tests of how quotas are kept: what holds for a tenant, over restarts and beside other writers.
// Refuses to own what they do to requests (quota_api_test.ts). Invariant: no real time passes.
import assert from "node:assert/strict";
import { LocalQuotas } from "../actors/quota/quotas.ts";
import { NO_LIMITS } from "../actors/quota/types.ts";
import { MemoryMetadataStore } from "../storage/memory/memory_metadata.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

function stores() {
  const clock = new VirtualClock();
  const metadata = new MemoryMetadataStore({ timers: clock, randomness: seededRandomness(1) });
  return { clock, timers: clock, metadata };
}

const limits = (connections: number) => ({ ...NO_LIMITS, connections });
const put = (quotas: LocalQuotas, tenant: string, connections: number) =>
  quotas.put({ tenant, limits: limits(connections), updatedBy: "admin" });

Deno.test("a tenant has its own quota, else the default one, else no limit", async () => {
  const quotas = await LocalQuotas.open(stores());
  assert.equal(quotas.limitsOf("a"), NO_LIMITS);
  await put(quotas, "*", 7);
  assert.equal(quotas.limitsOf("a").connections, 7);
  await put(quotas, "a", 3);
  assert.equal(quotas.limitsOf("a").connections, 3);
  assert.equal(quotas.limitsOf("b").connections, 7);
  await quotas.delete("a");
  assert.equal(quotas.limitsOf("a").connections, 7);
  await assert.rejects(quotas.delete("a"), { code: "NOT_FOUND" });
});

Deno.test("quotas are there again after a restart, and listed by tenant", async () => {
  const ports = stores();
  const before = await LocalQuotas.open(ports);
  for (const tenant of ["b", "a", "*"]) await put(before, tenant, 1);
  await before.close();
  const after = await LocalQuotas.open(ports);
  assert.deepEqual(after.list().map(({ tenant }) => tenant), ["*", "a", "b"]);
  assert.deepEqual(after.list(), before.list());
});

Deno.test("limits are the same object until they change, so that they are compared by identity", async () => {
  const quotas = await LocalQuotas.open(stores());
  await put(quotas, "a", 1);
  const known = quotas.limitsOf("a");
  await put(quotas, "b", 1);
  assert.equal(quotas.limitsOf("a"), known);
  await put(quotas, "a", 2);
  assert.notEqual(quotas.limitsOf("a"), known);
});

Deno.test("there are never more quotas than the bound, and those there are can be changed", async () => {
  const quotas = await LocalQuotas.open({ ...stores(), maxQuotas: 2 });
  await put(quotas, "a", 1);
  await put(quotas, "b", 1);
  await assert.rejects(put(quotas, "c", 1), { code: "LIMIT_REACHED" });
  await put(quotas, "a", 5);
  await quotas.delete("b");
  await put(quotas, "c", 1);
});
