// Owns proof that what is measured is scraped: rates, histograms, lags, also under the names that known dashboards use.
// Refuses to own measuring (measurement_*_test.ts). Invariant: names are well formed and unique, series are bounded.
import assert from "node:assert/strict";
import { DEFAULT_GROUP_SETTINGS } from "../actors/group/settings.ts";
import { partitionMetricsRoutes } from "../ops/metrics/partition_routes.ts";
import { metricsRoutes } from "../ops/metrics/routes.ts";
import { type MeasuredApi, measuredApi } from "./support/measured_api.ts";

async function scraped(
  api: MeasuredApi,
  path = "/metrics",
): Promise<{ text: string; values: Map<string, number> }> {
  const response = await api.app.request(path);
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
  const text = await response.text();
  const lines = text.split("\n").filter((line) => /^[a-z]/.test(line));
  const pairs = lines.map((line) => {
    const at = line.lastIndexOf(" ");
    return [line.slice(0, at), Number(line.slice(at + 1))] as const;
  });
  const values = new Map(pairs);
  assert.equal(values.size, pairs.length, "each series once");
  return { text, values };
}

async function withTraffic(run: (api: MeasuredApi) => Promise<void>): Promise<void> {
  const api = await measuredApi({
    group: { ...DEFAULT_GROUP_SETTINGS },
    routes: (measuring) => [
      metricsRoutes("1", undefined, measuring),
      partitionMetricsRoutes(measuring.lags),
    ],
  });
  await api.ask("POST", "/api/topics", { body: { name: "orders", partitions: 2 } });
  const publish = (body: object) =>
    api.ask("POST", "/api/messages:publish", { body: { topic: "orders", ...body } });
  await publish({ messages: [{ value: "a" }, { value: "b" }, { value: "c" }], partition: 1 });
  await publish({ messages: [{ value: "a" }], partition: 7 });
  await api.ask("GET", "/api/topics/orders/partitions/1/messages");
  await api.ask("POST", "/api/offsets:commit", {
    body: { groupId: "billing", offsets: [{ topic: "orders", partition: 1, offset: 1 }] },
  });
  for (let second = 0; second < 3; second++) await api.second();
  await run(api);
  await api.close();
}

Deno.test("rates, failures by code and histograms are those of what happened", () =>
  withTraffic(async (api) => {
    const { text, values } = await scraped(api);
    const expected: Record<string, number> = {
      waybill_publish_requests_total: 2,
      waybill_publish_broker_failures_total: 0,
      'waybill_publish_failures_total{code="UNKNOWN_PARTITION"}': 1,
      waybill_published_messages_total: 3,
      'waybill_delivered_messages_total{path="read"}': 3,
      'waybill_refusals_total{code="UNKNOWN_PARTITION"}': 1,
      'waybill_responses_total{status="404"}': 1,
      waybill_publish_duration_seconds_count: 2,
      'waybill_publish_duration_seconds_bucket{le="+Inf"}': 2,
      waybill_end_to_end_seconds_count: 0,
      waybill_replication_delay_seconds: 0,
      waybill_offline_partitions: 0,
      waybill_disk_free_bytes: 1_000_000,
      waybill_memory_bytes: 42,
    };
    for (const [name, value] of Object.entries(expected)) {
      assert.equal(values.get(name), value, name);
    }
    assert.ok(values.get("waybill_published_bytes_total")! > 0);
    assert.ok(values.get("waybill_storage_bytes")! > 0);
    assert.match(text, /^# TYPE waybill_publish_duration_seconds histogram$/m);
    assert.match(text, /^# TYPE waybill_published_messages_total counter$/m);
    assert.match(text, /^# TYPE waybill_mailbox_waiting gauge$/m);
  }));

Deno.test("buckets of a histogram only grow from one to the next", () =>
  withTraffic(async (api) => {
    for (const ms of [0.1, 1, 3, 40, 40, 1e9]) {
      api.measuring.edge.published({
        topic: "t",
        messages: 1,
        bytes: 1,
        durationMs: ms,
        code: null,
      });
    }
    const { values } = await scraped(api);
    const buckets = [...values].flatMap(([name, value]) => {
      const le = /^waybill_publish_duration_seconds_bucket\{le="(.+)"\}$/.exec(name)?.[1];
      return le === undefined ? [] : [[le === "+Inf" ? Infinity : Number(le), value] as const];
    });
    assert.ok(buckets.length > 10);
    for (const [index, [bound, count]] of buckets.entries()) {
      const [earlier, fewer] = buckets[index - 1] ?? [0, 0];
      assert.ok(bound > earlier && count >= fewer, `${bound}: ${count}`);
    }
    assert.deepEqual(buckets.at(-1), [Infinity, 8]);
    assert.equal(new Map(buckets).get(0.064), 7);
  }));

Deno.test("lags are told by group, and by partition under the name that known dashboards use", () =>
  withTraffic(async (api) => {
    const { values } = await scraped(api);
    assert.equal(values.get('waybill_group_lag{group="billing"}'), 2);
    assert.equal(values.get('waybill_group_members{group="billing"}'), 0);
    assert.ok(values.get('waybill_group_lag_seconds{group="billing"}')! >= 2);
    const named = (partition: number) =>
      values.get(
        `kafka_consumergroup_lag{consumergroup="billing",topic="orders",partition="${partition}"}`,
      );
    assert.deepEqual([named(0), named(1)], [0, 2]);
    assert.equal(values.get('waybill_group_lag_left_out{of="groups"}'), 0);
    assert.equal(values.get("waybill_group_lag_unknown"), 0);
  }));

Deno.test("each partition has figures on a path of its own", () =>
  withTraffic(async (api) => {
    const { values } = await scraped(api, "/metrics/partitions");
    const of = (name: string, partition: number) =>
      values.get(`${name}{topic="orders",partition="${partition}"}`);
    assert.deepEqual([0, 1].map((n) => of("waybill_partition_high_watermark", n)), [0, 3]);
    assert.deepEqual([0, 1].map((n) => of("waybill_partition_online", n)), [1, 1]);
    assert.equal(of("kafka_topic_partition_current_offset", 1), 3);
    const lag = 'kafka_consumergroup_lag{consumergroup="billing",topic="orders",partition="1"}';
    assert.equal(values.get(lag), 2);
    assert.equal(values.get("waybill_partitions_left_out"), 0);
    assert.ok(![...values.keys()].some((name) => name.includes("__")), "no internal topics");
  }));

Deno.test("a name in a label cannot break the text", async () => {
  const api = await measuredApi({
    routes: (measuring) => [metricsRoutes("1", undefined, measuring)],
  });
  api.measuring.edge.answered({
    operationId: "x",
    status: 500,
    code: 'A"B\n\\',
    durationMs: 1,
  });
  const { values } = await scraped(api);
  assert.equal(values.get('waybill_refusals_total{code="A\\"B\\n\\\\"}'), 1);
  await api.close();
});
