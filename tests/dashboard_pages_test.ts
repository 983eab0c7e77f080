// Owns proof of what the dashboard's pages compute: words for partitions and messages, searches, objectives, progress of jobs.
// Refuses to own the pages in a browser (dashboard_<page>_test.ts). Invariant: both sides of each limit.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Job, Message } from "../api/dashboard/answers.ts";
import { jsonText, parseExactly } from "../api/dashboard/exact_json.ts";
import {
  contains,
  copyText,
  hexDump,
  keyText,
  traceIdOf,
  valueKind,
  valuePreview,
  valueText,
} from "../api/dashboard/message_text.ts";
import {
  availabilityOf,
  availabilityOfHistory,
  latencyKept,
  sinceStart,
} from "../api/dashboard/pages/slo/objectives.ts";
import { scanMessages } from "../api/dashboard/pages/topics/message_scan.ts";
import { isKept, recoveryText } from "../api/dashboard/pages/runbooks/wording.ts";
import { troubleOfLag } from "../api/dashboard/pages/groups/trouble.ts";
import { factsTold } from "../api/dashboard/pages/runbooks/facts.ts";
import { partitionsText, rangesText } from "../api/dashboard/partition_text.ts";
import { shareOf } from "../api/dashboard/jobs.ts";

function message(changed: Partial<Message> = {}): Message {
  return {
    topic: "orders",
    partition: 0,
    offset: 0,
    timestamp: 0,
    key: null,
    value: null,
    headers: {},
    ...changed,
  };
}

Deno.test("partitions are told as ranges that hold each of them once", () => {
  assert.equal(rangesText([7, 0, 2, 1, 3, 1]), "0–3, 7");
  const at = (topic: string, partition: number) => ({ topic, partition });
  assert.equal(partitionsText([at("b", 1), at("a", 2), at("b", 0)]), "a 2 · b 0–1");
  assert.equal(partitionsText([]), "");
  fc.assert(fc.property(fc.array(fc.nat(50)), (numbers) => {
    const told = rangesText(numbers).split(", ").filter((part) => part !== "").flatMap((part) => {
      const [from, to = from] = part.split("–").map(Number);
      return Array.from({ length: to! - from! + 1 }, (_, index) => from! + index);
    });
    assert.deepEqual(told, [...new Set(numbers)].sort((a, b) => a - b));
  }));
});

Deno.test("a value is told as what it is, and copied as it would be published", () => {
  const json = message({ value: { a: [1] } });
  assert.deepEqual([valueKind(json), valuePreview(json), copyText(json)], [
    "JSON",
    '{"a":[1]}',
    '{"a":[1]}',
  ]);
  assert.equal(valueText(json), '{\n  "a": [\n    1\n  ]\n}');
  const text = message({ value: "x".repeat(161), key: "k" });
  assert.deepEqual([valueKind(text), valuePreview(text)], ["text", `${"x".repeat(160)}…`]);
  assert.equal(valuePreview(message({ value: "x".repeat(160) })), "x".repeat(160));
  const { value: _, ...rest } = message();
  const bytes: Message = { ...rest, keyBase64: "/w==", valueBase64: "AAECg/8=" };
  assert.deepEqual(
    [valueKind(bytes), valuePreview(bytes), copyText(bytes), keyText(bytes)],
    ["binary", "5 bytes", "AAECg/8=", "base64 /w=="],
  );
  assert.equal(valueKind(message()), "nothing");
  assert.equal(keyText(message()), null);
});

Deno.test("bytes are dumped sixteen a line, printable ones beside, and no more than 256 lines", () => {
  const bytes = new TextEncoder().encode("waybill: ünïcode");
  assert.equal(
    hexDump(bytes),
    "000000  77 61 79 62 69 6c 6c 3a 20 c3 bc 6e c3 af 63 6f  waybill: ..n..co\n" +
      `000010  ${"64 65".padEnd(47)}  de`,
  );
  assert.equal(hexDump(new Uint8Array(256 * 16)).split("\n").length, 256);
  assert.match(hexDump(new Uint8Array(256 * 16 + 1)), /\n… 1 more byte$/);
});

Deno.test("what an execution found is told as times, durations, counts and offsets by partition", () => {
  const at = new Date(2026, 10, 22, 14, 5, 9).getTime();
  const told = factsTold({
    since: at,
    deployedAt: `${at}`,
    until: 1_234,
    recoveryPointMs: 20_000,
    measuredSeconds: 90,
    letters: 1_500,
    wanted: [["orders", 1, 1_200], { odd: true }],
    policies: [],
    place: null,
    note: "as it is",
  });
  assert.deepEqual(told.map(({ name, lines }) => [name, ...lines]), [
    ["since", "2026-11-22 14:05:09"],
    ["deployed at", "2026-11-22 14:05:09"],
    ["until", "1,234"],
    ["recovery point", "20 s"],
    ["measured seconds", "1 min 30 s"],
    ["letters", "1,500"],
    ["wanted", "orders 1: offset 1,200", '{"odd":true}'],
    ["policies", "none"],
    ["place", "none"],
    ["note", "as it is"],
  ]);
});

Deno.test("a group's own lag tells its trouble: the first of several reasons, and none where nothing is unread", () => {
  type Lags = Parameters<typeof troubleOfLag>[1]["partitions"];
  const lag = (status: Lags[number]["status"], partition: number, behind = 5) =>
    ({ topic: "orders", partition, status, lag: behind }) as Lags[number];
  const group = { paused: null, members: [{}] } as unknown as Parameters<typeof troubleOfLag>[0];
  const of = (...partitions: Lags) => troubleOfLag(group, { partitions });
  assert.equal(of(lag("ok", 0), lag("stalled", 1, 0)), null);
  assert.deepEqual(of(lag("lagging", 0), lag("stalled", 2)), {
    kind: "stalled",
    tone: "bad",
    since: null,
    why: "nothing is committed on orders 2",
  });
  assert.equal(of(lag("lagging", 0), lag("unassigned", 1))?.kind, "unassigned");
  assert.equal(of(lag("lagging", 0))?.tone, "warn");
  const alone = { ...group, members: [] };
  assert.equal(troubleOfLag(alone, { partitions: [lag("unassigned", 0)] })?.kind, "no-members");
  const paused = { ...alone, paused: { reason: "deploy", since: 7 } } as typeof group;
  assert.deepEqual(troubleOfLag(paused, { partitions: [lag("stalled", 0)] }), {
    kind: "paused",
    tone: "warn",
    since: 7,
    why: "paused: deploy",
  });
});

Deno.test("messages are searched by key and value, not by bytes; a trace is read from its header", () => {
  assert.ok(contains(message({ key: "Customer-7" }), "customer"));
  assert.ok(contains(message({ value: { name: "Ada" } }), '"name":"ada"'));
  assert.ok(!contains(message({ key: "a", value: "b" }), "c"));
  const { value: _, ...rest } = message();
  assert.ok(!contains({ ...rest, valueBase64: "AAAA" }, "AAAA"));
  const id = "4bf92f3577b34da6a3ce929d0e0e4736";
  const headers = { traceparent: `00-${id}-00f067aa0ba902b7-01` };
  assert.equal(traceIdOf({ headers }), id);
  assert.equal(traceIdOf({ headers: { traceparent: "00-short-0-01" } }), null);
  assert.equal(traceIdOf({ headers: {} }), null);
});

Deno.test("numbers that JavaScript would change are written again as they stood", () => {
  const text = '{"a":12345678901234567890,"b":1.10,"c":[2,"1.10"],"d":null}';
  assert.equal(jsonText(parseExactly(text)), text);
  assert.deepEqual(parseExactly('{"offset":7}'), { offset: 7 });
});

Deno.test("a search reads no more than its bound, partition by partition, and says what is left", async () => {
  const log = (partition: number) =>
    Array.from(
      { length: 1_200 },
      (_, offset) => message({ partition, offset, timestamp: offset, key: `${offset}` }),
    );
  const asked: [number, string, number][] = [];
  const search = (maxLooked: number, maxFound = 500) =>
    scanMessages({
      starts: [{ partition: 0, offset: "0" }, { partition: 1, offset: "1100" }],
      maxLooked,
      maxFound,
      isWanted: ({ key }) => key!.endsWith("0"),
      read: (partition, offset, maxMessages) => {
        asked.push([partition, offset, maxMessages]);
        const from = Number(offset);
        const messages = log(partition).slice(from, from + maxMessages);
        const nextOffset = from + messages.length;
        return Promise.resolve({ messages, nextOffset, highWatermark: 1_200 });
      },
    });
  const some = await search(1_400);
  assert.deepEqual(asked, [[0, "0", 500], [0, "500", 200], [1, "1100", 500]]);
  assert.deepEqual([some.looked, some.messages.length, some.isCut], [800, 80, true]);
  assert.deepEqual(some.messages[0], log(1)[1_190]);
  const all = await search(2_400);
  assert.deepEqual([all.looked, all.messages.length, all.isCut], [1_300, 130, false]);
  const few = await search(2_400, 10);
  assert.deepEqual([few.messages.length, few.isCut], [10, true]);
});

Deno.test("a search ends where pages stay empty", async () => {
  let pages = 0;
  const found = await scanMessages({
    starts: [{ partition: 0, offset: "0" }],
    maxLooked: 10,
    maxFound: 10,
    isWanted: () => true,
    read: (_, offset) => {
      pages++;
      return Promise.resolve({ messages: [], nextOffset: Number(offset) + 1, highWatermark: 1e9 });
    },
  });
  assert.deepEqual([pages, found.isCut], [200, true]);
});

Deno.test("availability and the error budget are those of the requests there were", () => {
  const kept = availabilityOf(10_000, 5);
  assert.equal(kept.share, 0.9995);
  assert.ok(Math.abs(kept.burn! - 1) < 1e-9);
  assert.ok(Math.abs(kept.allowed - 5) < 1e-9);
  assert.ok(Math.abs(availabilityOf(10_000, 10).burn! - 2) < 1e-9);
  assert.deepEqual([availabilityOf(0, 0).share, availabilityOf(0, 0).burn], [null, null]);
});

Deno.test("of the history, rates count for the time that they stand for, and gaps are not filled", () => {
  const point = (at: number, p99: number | null, failures = 0) => ({
    at,
    publishRequestsPerSecond: 100,
    publishFailuresPerSecond: failures,
    publishLatencyMs: { p99 },
  });
  const history = [point(0, 30), point(1_000, 30.1, 1), point(3_000, null), point(60_000, 5)];
  const { requests, failures } = availabilityOfHistory(history);
  assert.deepEqual([requests, failures], [100 + 100 + 200 + 500, 1]);
  assert.deepEqual(latencyKept(history), { measured: 3, within: 2, worstMs: 30.1 });
  assert.deepEqual(latencyKept([]), { measured: 0, within: 0, worstMs: null });
});

Deno.test("since the start, the counters tell availability and the histogram between what p99 lies", () => {
  const metrics = (within: number) =>
    [
      "# TYPE waybill_publish_requests_total counter",
      "waybill_publish_requests_total 1000",
      "waybill_publish_broker_failures_total 2",
      'waybill_publish_duration_seconds_bucket{le="0.016"} 10',
      `waybill_publish_duration_seconds_bucket{le="0.032"} ${within}`,
      'waybill_publish_duration_seconds_bucket{le="+Inf"} 1000',
    ].join("\n");
  const { availability, p99Ms } = sinceStart(metrics(990));
  assert.deepEqual([availability.requests, availability.failures], [1_000, 2]);
  assert.deepEqual(p99Ms, { above: 16, upTo: 32 });
  assert.deepEqual(sinceStart(metrics(989)).p99Ms, { above: 32, upTo: Infinity });
  assert.equal(sinceStart("").p99Ms, null);
});

Deno.test("a job's progress counts what it left out; recovery times stand beside their targets", () => {
  const job = (changed: Partial<Job>) =>
    ({ total: 10, done: 0, skipped: 0, alreadyRedriven: 0, state: "running", ...changed }) as Job;
  assert.equal(shareOf(job({ done: 4, skipped: 1 })), 0.5);
  assert.equal(shareOf(job({ total: 0 })), 0);
  assert.equal(shareOf(job({ total: 0, state: "completed" })), 1);
  assert.equal(recoveryText(12_000, 120_000), "12 s (at most 2 min)");
  assert.equal(recoveryText(null, 120_000), "not measured (at most 2 min)");
  assert.deepEqual([isKept(5, 5), isKept(6, 5), isKept(null, 5)], [true, false, undefined]);
});
