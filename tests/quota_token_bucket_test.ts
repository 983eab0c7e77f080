// Owns tests of the token bucket in virtual time: what it lets through, what it owes, when there is room again.
// Refuses to own what is counted. Invariant: no real time passes.
import assert from "node:assert/strict";
import fc from "fast-check";
import { BURST_MS, MAX_DELAY_MS, TokenBucket } from "../actors/quota/token_bucket.ts";

Deno.test("a bucket lets its burst through at once, and then its rate", () => {
  const bucket = new TokenBucket(10, 0);
  for (let n = 0; n < 10; n++) {
    assert.equal(bucket.delayMs(1, 0), 0);
    bucket.take(1, 0);
  }
  assert.equal(bucket.delayMs(1, 0), 100);
  assert.equal(bucket.delayMs(5, 0), 500);
  assert.equal(bucket.delayMs(1, 99), 1);
  assert.equal(bucket.delayMs(1, 100), 0);
});

Deno.test("what is larger than the burst passes a full bucket alone, and is owed", () => {
  const bucket = new TokenBucket(10, 0);
  assert.equal(bucket.delayMs(35, 0), 0);
  bucket.take(35, 0);
  assert.equal(bucket.available(0), -25);
  assert.equal(bucket.delayMs(1, 0), 2_600);
  assert.equal(bucket.delayMs(35, 0), 3_500);
  assert.equal(bucket.delayMs(1, 2_600), 0);
});

Deno.test("a bucket with rate 0 never has room, and what asks for nothing always passes", () => {
  const bucket = new TokenBucket(0, 0);
  assert.equal(bucket.delayMs(1, 1e9), MAX_DELAY_MS);
  assert.equal(bucket.delayMs(0, 0), 0);
});

Deno.test("a changed rate keeps what is owed, and a full bucket stays full", () => {
  const bucket = new TokenBucket(10, 0);
  bucket.take(30, 0);
  bucket.changeRate(100, 0);
  assert.equal(bucket.available(0), -20);
  assert.equal(bucket.delayMs(1, 0), 210);
  const full = new TokenBucket(10, 0);
  full.changeRate(100, 0);
  assert.equal(full.available(0), 100);
  full.changeRate(5, 0);
  assert.equal(full.available(0), 5);
});

Deno.test("a clock that stands still or goes back gives nothing", () => {
  const bucket = new TokenBucket(10, 1_000);
  bucket.take(10, 1_000);
  assert.equal(bucket.available(500), 0);
  assert.equal(bucket.available(1_100), 1);
});

const asks = fc.array(
  fc.record({ waitMs: fc.nat(3_000), count: fc.integer({ min: 1, max: 300 }) }),
  {
    maxLength: 60,
  },
);

Deno.test("over any run a bucket lets through no more than burst, rate times time and one piece beyond", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 200 }), asks, (rate, wanted) => {
    const bucket = new TokenBucket(rate, 0);
    let now = 0;
    let passed = 0;
    let largest = 0;
    for (const { waitMs, count } of wanted) {
      now += waitMs;
      if (bucket.delayMs(count, now) > 0) continue;
      bucket.take(count, now);
      passed += count;
      largest = Math.max(largest, count);
      const allowed = rate * (now + BURST_MS) / 1_000 + Math.max(0, largest - bucket.capacity);
      assert.ok(passed <= allowed + 1e-3, `${passed} of ${allowed} at ${now}`);
    }
  }));
});

Deno.test("after the time that it says, there is room", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 200 }), asks, (rate, wanted) => {
    const bucket = new TokenBucket(rate, 0);
    let now = 0;
    for (const { waitMs, count } of wanted) {
      now += waitMs;
      const delayMs = bucket.delayMs(count, now);
      now += delayMs;
      assert.equal(bucket.delayMs(count, now), 0);
      bucket.take(count, now);
    }
  }));
});
