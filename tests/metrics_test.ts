// Owns proof that /metrics tells what happened, in Prometheus' text form.
// Refuses to own counting (the actors' tests). Invariant: every figure is scraped; names are unique and well formed.
import assert from "node:assert/strict";
import { FIGURES } from "../ops/metrics/figures.ts";
import { metricsRoutes } from "../ops/metrics/routes.ts";
import { type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";

async function scrape(api: ApiUnderTest): Promise<Map<string, number>> {
  const response = await api.app.request("/metrics");
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
  const lines = (await response.text()).split("\n").filter((line) => /^[a-z]/.test(line));
  return new Map(lines.map((line) => {
    const at = line.lastIndexOf(" ");
    return [line.slice(0, at), Number(line.slice(at + 1))];
  }));
}

Deno.test("every figure has a well formed name of its own and is scraped", async () => {
  const names = FIGURES.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  for (const name of names) assert.match(name, /^waybill_[a-z_]+$/);
  const api = await apiUnderTest({ app: { routes: [metricsRoutes("9.9.9")] } });
  const found = await scrape(api);
  assert.deepEqual(
    [...found.keys()].sort(),
    [
      'waybill_build_info{version="9.9.9"}',
      ...names,
    ].sort(),
  );
  assert.equal(found.get("waybill_ready"), 1);
  await api.close();
});

Deno.test("metrics count duplicates of producers, of message keys and of request keys", async () => {
  const api = await apiUnderTest({ app: { routes: [metricsRoutes("1")] } });
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: 2 } });
  const publish = (body: Record<string, unknown>, headers: Record<string, string> = {}) =>
    api.ask("POST", "/api/messages:publish", { body: { topic: "orders", ...body }, headers });
  const { body: { producerId, producerEpoch } } = await api.ask("POST", "/api/producers");
  const sequenced = { messages: [{ value: "a" }], partition: 0, producerId, producerEpoch };
  for (const sequence of [0, 0, 7]) await publish({ ...sequenced, sequence });
  for (const _ of [1, 2, 3]) await publish({ messages: [{ value: "b", idempotencyKey: "k" }] });
  for (const _ of [1, 2]) await publish({ messages: [{ value: "c" }] }, { "idempotency-key": "r" });
  const found = await scrape(api);
  assert.equal(found.get("waybill_topics"), 1);
  assert.equal(found.get("waybill_partitions"), 2);
  assert.equal(found.get("waybill_producer_duplicate_batches_total"), 1);
  assert.equal(found.get("waybill_producer_out_of_order_total"), 1);
  assert.equal(found.get("waybill_message_keys"), 1);
  assert.equal(found.get("waybill_message_key_duplicates_total"), 2);
  assert.equal(found.get("waybill_request_key_replays_total"), 1);
  assert.equal((await scrape(api)).get("waybill_message_key_duplicates_total"), 2);
  await api.close();
});
