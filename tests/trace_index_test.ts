// Owns the tests of the index of traces: its table, what is looked at, how far back, and what is said of what is not.
// Refuses to own what a trace tells (traces_api_test.ts).
// Invariant: what the index says it knows it finds; whatever was left out is told.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import type { FetchOptions, FetchResult, Topic } from "../actors/broker.ts";
import { tracesIn } from "../actors/trace/batch_traces.ts";
import { DeliveryRing } from "../actors/trace/deliveries.ts";
import { type FollowedPartition, TraceFollower } from "../actors/trace/follower.ts";
import { MessageRanges } from "../actors/trace/message_ranges.ts";
import { traceParentOf } from "../actors/trace/trace_id.ts";
import { TraceIndex, type TraceRun } from "../actors/trace/trace_index.ts";
import { LocalTraces } from "../actors/trace/traces.ts";
import { DEFAULT_TRACE_SETTINGS, type TraceSettings } from "../actors/trace/types.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { setBaseOffset } from "../storage/format/record_batch.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./support/memory_broker.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const idOf = (n: number) => (n + 1).toString(16).padStart(32, "0");
const parentOf = (n: number) => `00-${idOf(n)}-00f067aa0ba902b7-01`;

Deno.test("the index finds the newest runs of each trace, and tells of those that made room", () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ trace: fc.nat(5), length: fc.nat(3) }), { maxLength: 60 }),
      fc.constantFrom(2, 8, 16),
      (added, capacity) => {
        const forgotten: TraceRun[] = [];
        const index = new TraceIndex(capacity, (run) => forgotten.push(run));
        const all = added.map(({ trace, length }, i) => ({
          trace,
          run: { place: i % 3, firstOffset: i * 10, lastOffset: i * 10 + length, at: i },
        }));
        for (const { trace, run } of all) index.add(idOf(trace), run);
        const kept = all.slice(-capacity);
        assert.deepEqual(forgotten, all.slice(0, -capacity).map(({ run }) => run));
        assert.equal(index.size, kept.length);
        for (let trace = 0; trace < 6; trace++) {
          const runs = kept.filter((one) => one.trace === trace).map(({ run }) => run).toReversed();
          assert.deepEqual(index.find(idOf(trace), Infinity), runs);
          assert.deepEqual(index.find(idOf(trace), 2), runs.slice(0, 2));
        }
      },
    ),
  );
});

Deno.test("a traceparent is read as the W3C says, and nothing else is one", () => {
  const [trace, span] = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"];
  assert.deepEqual(traceParentOf(`00-${trace}-${span}-01`), {
    traceId: trace,
    spanId: span,
    flags: 1,
  });
  assert.equal(traceParentOf(`cc-${trace}-${span}-00-more`)?.traceId, trace);
  const wrong = [
    "",
    `00-${trace}-${span}`,
    `00-${trace}-${span}-01-more`,
    `cc-${trace}-${span}-01more`,
    `ff-${trace}-${span}-01`,
    `00-${trace.toUpperCase()}-${span}-01`,
    `00-${"0".repeat(32)}-${span}-01`,
    `00-${trace}-${"0".repeat(16)}-01`,
  ];
  for (const text of wrong) assert.equal(traceParentOf(text), null, text);
});

Deno.test("messages next to each other that carry one trace are one run, within their batch and from where was asked", () => {
  const batch = (base: number, traces: readonly (number | null)[]) => {
    const bytes = encodeBatch(
      traces.map((trace) => ({
        key: null,
        value: "x",
        headers: trace === null ? [] : [["traceparent", parentOf(trace)] as const],
        timestamp: 1_000 + base,
      })),
      { crc32c },
    );
    setBaseOffset(bytes, 0, base);
    return bytes;
  };
  const batches = new Uint8Array([...batch(0, [1, 1, null, 1, 2]), ...batch(5, [2, null])]);
  const found = tracesIn({ batches }, 1, Infinity);
  assert.deepEqual(
    found.runs.map(({ traceId, firstOffset, lastOffset }) => [traceId, firstOffset, lastOffset]),
    [[idOf(1), 1, 1], [idOf(1), 3, 3], [idOf(2), 4, 4], [idOf(2), 5, 5]],
  );
  assert.deepEqual([found.next, found.passedOver, found.firstMs], [7, 0, 1_000]);
  assert.equal(tracesIn({ batches }, 0, 1).next, 5, "a budget ends with a batch");
});

Deno.test("deliveries are remembered up to a bound, and it is told since when", () => {
  const clock = new VirtualClock();
  const ring = new DeliveryRing({ clock, maxDeliveries: 3 });
  const run = {
    topic: "orders",
    partition: 0,
    createdAt: 0,
    firstOffset: 0,
    lastOffset: 99,
    at: 0,
  };
  const ranges = new MessageRanges([run]);
  const since = ring.fromMs;
  const note = (from: number, partition = 0) => {
    clock.jumpWall(1);
    const of = { group: "g", member: "m", attempt: 1, topic: "orders", partition };
    ring.note({ ...of, spans: [{ from, to: from + 1 }] });
  };
  for (const from of [1, 2, 3]) note(from);
  assert.equal(ring.fromMs, since);
  note(4, 7);
  const told = [...ring.eventsOf(ranges)].map(({ offset }) => offset).sort();
  assert.deepEqual(told, [2, 3]);
  assert.equal(ring.fromMs, since + 2, "the first is forgotten");
});

/** A partition of which a test says what it holds. */
class StoredPartition implements FollowedPartition {
  readonly #batches: { readonly base: number; readonly bytes: Uint8Array }[] = [];
  startOffset = 0;
  endOffset = 0;
  fetches = 0;
  fault: BrokerError | null = null;

  /** One batch of 1,000 bytes and something a message. */
  publish(trace: number | null, messages = 1): void {
    const records = Array.from({ length: messages }, () => ({
      key: null,
      value: "x".repeat(1_000),
      headers: trace === null ? [] : [["traceparent", parentOf(trace)] as const],
      timestamp: 1_000_000 + this.endOffset,
    }));
    const bytes = encodeBatch(records, { crc32c });
    setBaseOffset(bytes, 0, this.endOffset);
    this.#batches.push({ base: this.endOffset, bytes });
    this.endOffset += messages;
  }

  readable() {
    if (this.fault !== null) throw this.fault;
    return { startOffset: this.startOffset, endOffset: this.endOffset };
  }

  info() {
    const { startOffset: logStartOffset, endOffset } = this;
    const sizeBytes = this.#batches.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const ends = { logEndOffset: endOffset, highWatermark: endOffset, lastStableOffset: endOffset };
    const about = {
      partition: 0,
      leader: "1",
      isr: ["1"],
      leaderEpoch: 0,
      state: "online" as const,
    };
    return { ...about, logStartOffset, ...ends, sizeBytes };
  }

  fetch(offset: number, { maxBytes }: FetchOptions): Promise<FetchResult> {
    this.fetches++;
    if (this.fault !== null) return Promise.reject(this.fault);
    const found: Uint8Array[] = [];
    let bytes = 0;
    for (const batch of this.#batches.filter(({ base }) => base >= offset)) {
      if (bytes > 0 && bytes + batch.bytes.length > maxBytes) break;
      found.push(batch.bytes);
      bytes += batch.bytes.length;
    }
    const { highWatermark, lastStableOffset, logStartOffset } = this.info();
    const batches = Buffer.concat(found);
    return Promise.resolve({ batches, highWatermark, lastStableOffset, logStartOffset });
  }
}

function topicOf(name: string): Topic {
  const about = { topicId: `id-${name}`, partitionCount: 1, createdAt: 0, internal: false };
  return { ...about, name, config: TOPIC_CONFIG };
}

function following(settings: Partial<TraceSettings> = {}, names: readonly string[] = ["orders"]) {
  const clock = new VirtualClock();
  const partitions = new Map(names.map((name) => [name, new StoredPartition()]));
  const topics = names.map(topicOf);
  let turns = 0;
  const follower = new TraceFollower({
    settings: { ...DEFAULT_TRACE_SETTINGS, ...settings },
    clock,
    topics: () => topics,
    topic: (name) => topics.find((topic) => topic.name === name) ?? null,
    partitionsOf: (name) => [partitions.get(name)!],
    yieldTurn: () => {
      turns++;
      return Promise.resolve();
    },
  });
  const all = new Set(names);
  const offsets = (trace: number) =>
    follower.find(idOf(trace), all, 1_000).runs.map(({ firstOffset }) => firstOffset);
  const coverage = () => follower.coverage(all);
  const partition = (name = "orders") => partitions.get(name)!;
  return { clock, follower, partition, topics, offsets, coverage, turns: () => turns };
}

Deno.test("a look goes as far as its bytes allow, the next goes on there, and what is not looked at yet is a gap", async () => {
  const { follower, partition, offsets, coverage } = following();
  for (let i = 0; i < 1_000; i++) partition().publish(i % 10);
  const cost = await follower.follow(300_000);
  assert.ok(cost >= 300_000 && cost < 700_000, `${cost}`);
  assert.ok(offsets(0).length > 0 && offsets(0).length < 100);
  assert.deepEqual(coverage(), { indexedFrom: null, hasGaps: true });
  await follower.follow(Infinity);
  assert.equal(offsets(0).length, 100);
  assert.deepEqual(coverage(), { indexedFrom: null, hasGaps: false });
  const { fetches } = partition();
  assert.equal(await follower.follow(Infinity), 0);
  assert.equal(partition().fetches, fetches, "where nothing is new nothing is read");
});

Deno.test("partitions are looked at a piece each in turn, and others have their turn meanwhile", async () => {
  const { follower, partition, offsets, turns } = following({}, ["large", "small"]);
  for (let i = 0; i < 4_000; i++) partition("large").publish(null);
  partition("small").publish(1);
  await follower.follow(600_000);
  assert.deepEqual(offsets(1), [0]);
  await follower.follow(Infinity);
  assert.ok(turns() >= 2, `${turns()}`);
});

Deno.test("a look goes on where the last one ended, so that no partition waits for those before it", async () => {
  const names = ["a", "b", "c"];
  const { follower, partition, offsets } = following({}, names);
  for (const name of names) for (let i = 0; i < 2_000; i++) partition(name).publish(null);
  partition("c").publish(1);
  const last = partition("c").endOffset - 1;
  for (let look = 0; look < 30; look++) {
    // As much as one look takes.
    for (let i = 0; i < 300; i++) partition("a").publish(null);
    await follower.follow(1);
  }
  assert.deepEqual(offsets(1), [last]);
});

Deno.test("a look back is bounded, by bytes, by messages and by the number of partitions, and told", async () => {
  for (
    const [settings, expected] of [
      [{ lookBackBytes: 2_200_000 }, 2_000],
      [{ lookBackMessages: 1_500 }, 1_500],
      [{ totalLookBackBytes: 2_500_000 }, 2_300],
    ] as const
  ) {
    const { follower, partition, offsets, coverage } = following(settings);
    for (let i = 0; i < 5_000; i++) partition().publish(i);
    await follower.follow(Infinity);
    const known = Array.from({ length: 5_000 }, (_, i) => offsets(i).length);
    const first = known.indexOf(1);
    assert.ok(Math.abs(5_000 - first - expected) < expected / 10, `${5_000 - first}`);
    assert.deepEqual(known, known.map((_, i) => i < first ? 0 : 1));
    assert.deepEqual(coverage(), { indexedFrom: 1_000_000 + first, hasGaps: false });
  }
});

Deno.test("what is written faster than it can be looked at is left out and told; what was found before stays", async () => {
  const { follower, partition, offsets, coverage } = following({ lookBackMessages: 1_500 });
  partition().publish(7);
  await follower.follow(Infinity);
  assert.equal(coverage().indexedFrom, null);
  for (let i = 0; i < 4_000; i++) partition().publish(8);
  await follower.follow(Infinity);
  assert.deepEqual(offsets(7), [0]);
  assert.equal(offsets(8).length, 1_000, "no more than were asked for");
  assert.deepEqual(coverage(), { indexedFrom: 1_000_000 + 2_501, hasGaps: false });
});

Deno.test("when the table is full the oldest are forgotten, and it is told how far back is known", async () => {
  const { follower, partition, offsets, coverage } = following({ maxRuns: 8 });
  for (let i = 0; i < 20; i++) partition().publish(i);
  await follower.follow(Infinity);
  assert.deepEqual([offsets(11), offsets(12), offsets(19)], [[], [12], [19]]);
  assert.deepEqual(coverage(), { indexedFrom: 1_000_011, hasGaps: false });
});

Deno.test("a partition that cannot be read is a gap until it can, and is not asked at every look", async () => {
  const { clock, follower, partition, offsets, coverage } = following({}, ["broken", "whole"]);
  partition("broken").publish(1);
  partition("whole").publish(1);
  partition("broken").fault = new BrokerError("STORAGE_FAILED", "the disk is gone");
  await follower.follow(Infinity);
  await follower.follow(Infinity);
  assert.equal(offsets(1).length, 1);
  assert.equal(coverage().hasGaps, true);
  partition("broken").fault = null;
  await follower.follow(Infinity);
  assert.equal(coverage().hasGaps, true);
  await clock.advance(10_000);
  await follower.follow(Infinity);
  assert.equal(offsets(1).length, 2);
  assert.equal(coverage().hasGaps, false);
});

Deno.test("what retention dropped before it was looked at is passed over, and a deleted topic is forgotten", async () => {
  const { follower, partition, topics, offsets, coverage } = following();
  for (let i = 0; i < 5; i++) partition().publish(1);
  partition().startOffset = 3;
  await follower.follow(Infinity);
  assert.deepEqual(offsets(1), [4, 3]);
  assert.deepEqual(coverage(), { indexedFrom: null, hasGaps: false });
  topics[0] = { ...topics[0]!, topicId: "another" };
  await follower.follow(0);
  assert.deepEqual(offsets(1), []);
});

Deno.test("only so many traces are looked for at a time, and nobody keeps the others from asking", async () => {
  const broker = await memoryBrokerStores().open();
  const ask = (asker: string) => broker.traces.find({ traceId: idOf(1), topics: [], asker });
  const refusalsOf = async (found: Promise<unknown>[]) => {
    const outcomes = await Promise.allSettled(found);
    const refused = outcomes.filter((one) => one.status === "rejected");
    for (const { reason } of refused) assert.equal(reason.code, "OVERLOADED");
    return refused.length;
  };
  const many = Array.from({ length: 50 }, () => ask("greedy"));
  const one = ask("modest");
  assert.equal(await refusalsOf([...many, one]), 46);
  assert.deepEqual((await one).events, []);
  assert.equal(await refusalsOf(Array.from({ length: 50 }, (_, i) => ask(`${i}`))), 16);
  assert.equal(await refusalsOf([ask("greedy")]), 0, "what was answered counts no more");
  await broker.close();
});

Deno.test("the background looks at what is published without being asked, until the broker closes", async () => {
  const time = new VirtualClock();
  const partition = new StoredPartition();
  const traces = new LocalTraces({
    settings: { ...DEFAULT_TRACE_SETTINGS, followEveryMs: 500, followBytesPerSecond: 1_200_000 },
    clock: time,
    timers: time,
    topics: () => [topicOf("orders")],
    topic: topicOf,
    partitionsOf: () => [partition],
    groupJournals: [],
    jobs: { get: () => Promise.reject(new BrokerError("NOT_FOUND", "no job")) },
    report: ({ message }) => assert.fail(message),
  });
  for (let i = 0; i < 2_000; i++) partition.publish(i);
  await time.advance(499);
  assert.equal(partition.fetches, 0);
  await time.advance(1);
  assert.equal(partition.fetches, 3, "600,000 bytes in half a second, in pieces of 262,144");
  await time.advance(500);
  assert.equal(partition.fetches, 6);
  await time.advance(5_000);
  const { fetches } = partition;
  await traces.close();
  partition.publish(1);
  await time.advance(5_000);
  assert.equal(partition.fetches, fetches);
  assert.equal(time.pendingTimers, 0);
});
