// Owns the rules of lag: how much, how old, and what it says of the consumer, on both sides of each threshold.
// Refuses to own where the figures come from. Invariant: every status has a test that just gets it and one that just does not.
import assert from "node:assert/strict";
import fc from "fast-check";
import { DEFAULT_LAG_SETTINGS, type LagInput, lagOf } from "../actors/group/lag.ts";

const NOW = 1_700_000_000_000;

/** A consumer that is 10 behind, 1 s late, and committed a second ago. */
const lag = (change: Partial<LagInput> = {}) =>
  lagOf({
    committedOffset: 90,
    logStartOffset: 0,
    highWatermark: 100,
    messages: null,
    memberId: "a",
    firstUncommittedTimestampMs: NOW - 1_000,
    lastProgressAtMs: NOW - 1_000,
    lastAppendAtMs: NOW - 100,
    nowMs: NOW,
    settings: DEFAULT_LAG_SETTINGS,
    ...change,
  });

Deno.test("lag is what lies between the committed offset and the high watermark", () => {
  assert.deepEqual(lag(), { lag: 10, lagSeconds: 1, status: "ok" });
});

Deno.test("lag counts from the log start when nothing is committed or what is was removed", () => {
  assert.equal(lag({ committedOffset: null, logStartOffset: 40 }).lag, 60);
  assert.equal(lag({ committedOffset: 39, logStartOffset: 40 }).lag, 60);
  assert.equal(lag({ committedOffset: 41, logStartOffset: 40 }).lag, 59);
});

Deno.test("lag is the messages that were counted, where they were: offsets have gaps", () => {
  assert.equal(lag({ messages: 4 }).lag, 4);
  const none = lag({ messages: 0 });
  assert.deepEqual([none.lag, none.lagSeconds, none.status], [0, 0, "ok"]);
});

Deno.test("lag is never negative, nor is its age", () => {
  assert.equal(lag({ committedOffset: 101 }).lag, 0);
  assert.equal(lag({ firstUncommittedTimestampMs: NOW + 5_000 }).lagSeconds, 0);
});

Deno.test("lag of nothing has no age", () => {
  assert.equal(lag({ committedOffset: 100 }).lagSeconds, 0);
  assert.equal(lag({ firstUncommittedTimestampMs: null }).lagSeconds, 0);
});

Deno.test("partition is lagging when its first message to read is older than the limit", () => {
  assert.equal(lag({ firstUncommittedTimestampMs: NOW - 10_000 }).status, "ok");
  assert.equal(lag({ firstUncommittedTimestampMs: NOW - 10_001 }).status, "lagging");
});

Deno.test("partition is stalled when nothing was committed for as long as the limit", () => {
  const old = { firstUncommittedTimestampMs: NOW - 600_000 };
  assert.equal(lag({ ...old, lastProgressAtMs: NOW - 59_999 }).status, "lagging");
  assert.equal(lag({ ...old, lastProgressAtMs: NOW - 60_000 }).status, "stalled");
  assert.equal(lag({ ...old, lastProgressAtMs: null }).status, "stalled");
});

Deno.test("partition is not stalled while there was nothing to commit", () => {
  const quiet = { lastProgressAtMs: NOW - 600_000 };
  assert.equal(lag({ ...quiet, firstUncommittedTimestampMs: NOW - 1_000 }).status, "ok");
  assert.equal(lag({ ...quiet, firstUncommittedTimestampMs: NOW - 59_999 }).status, "lagging");
  assert.equal(lag({ ...quiet, firstUncommittedTimestampMs: NOW - 60_000 }).status, "stalled");
  assert.equal(lag({ ...quiet, committedOffset: 100 }).status, "ok");
});

Deno.test("partition about which nothing is known but its lag is not stalled", () => {
  const unknown = { lastProgressAtMs: null, firstUncommittedTimestampMs: null };
  assert.equal(lag(unknown).status, "ok");
  assert.equal(
    lag({ firstUncommittedTimestampMs: null, lastProgressAtMs: NOW - 60_000 }).status,
    "stalled",
  );
});

Deno.test("partition is idle when all is read and nothing was appended for as long as the limit", () => {
  const read = { committedOffset: 100 };
  assert.equal(lag({ ...read, lastAppendAtMs: NOW - 59_999 }).status, "ok");
  assert.equal(lag({ ...read, lastAppendAtMs: NOW - 60_000 }).status, "idle");
  assert.equal(lag({ ...read, lastAppendAtMs: null }).status, "idle");
  assert.equal(lag({ lastAppendAtMs: NOW - 60_000 }).status, "ok", "with lag it is not idle");
});

Deno.test("partition without a member is unassigned whatever its lag", () => {
  const nobody = { memberId: null };
  assert.equal(lag(nobody).status, "unassigned");
  assert.equal(lag({ ...nobody, committedOffset: 100 }).status, "unassigned");
  assert.equal(lag({ ...nobody, lastProgressAtMs: NOW - 600_000 }).status, "unassigned");
});

Deno.test("lag and its age are finite and not negative for any figures", () => {
  const offset = fc.integer({ min: 0, max: 1_000 });
  const time = fc.option(fc.integer({ min: NOW - 100_000, max: NOW + 100_000 }));
  fc.assert(fc.property(
    fc.option(offset),
    offset,
    offset,
    fc.tuple(time, time, time),
    (committedOffset, start, length, [first, progress, append]) => {
      const result = lag({
        committedOffset,
        logStartOffset: start,
        highWatermark: start + length,
        firstUncommittedTimestampMs: first,
        lastProgressAtMs: progress,
        lastAppendAtMs: append,
      });
      assert.ok(Number.isFinite(result.lagSeconds) && result.lagSeconds >= 0);
      assert.ok(result.lag >= 0 && result.lag <= length);
      if (result.lag === 0) assert.ok(["ok", "idle"].includes(result.status));
    },
  ));
});
