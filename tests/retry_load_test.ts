// Owns that many retries stay cheap: 10,000 nacks a second for a minute of virtual time, and 100,000 that wait.
// Refuses to own what becomes of one message. Invariant: bounds are on counts and bytes, so that a busy machine fails nothing.
import assert from "node:assert/strict";
import { decodeGroupState, encodeGroupState } from "../actors/group/state.ts";
import { queueOf } from "../actors/group/retry/evolve.ts";
import type { Rows } from "../actors/group/retry/rows.ts";
import { RetryRun } from "./support/retry_run.ts";
import { GROUP } from "./support/group_run.ts";

const STEP_MS = 100;
const NACKS_A_STEP = 1_000;

function journalBytes(run: RetryRun): number {
  const bytes = run.journal.reduce((sum, event) => sum + JSON.stringify(event).length, 0);
  run.journal.length = 0;
  return bytes;
}

Deno.test("10,000 nacks a second for a minute keep memory bounded and commits moving", () => {
  const maxPendingRetries = 50_000;
  const run = new RetryRun({
    maxPendingRetries,
    maxDeadLettersPerMinute: 0,
    maxDeadLettersWaiting: 5_000,
  });
  run.counts = { orders: 1 };
  run.join("a", { sessionTimeoutMs: 600_000 });
  run.advance(3_000);
  let [next, nacks, dead, refused, bytes, largest] = [0, 0, 0, 0, 0, 0];
  for (let at = 0; at < 60_000; at += STEP_MS) {
    const again = run.take("a", { max: NACKS_A_STEP }).retries;
    const fresh = NACKS_A_STEP - again.length;
    const batch = [
      ...again.map(({ offset }) => offset),
      ...Array.from({ length: fresh }, (_, i) => next + i),
    ].map((offset) => run.nackOf(0, offset));
    try {
      const results = run.nackAll(batch, "a");
      dead += results.filter(({ deadLettered }) => deadLettered === true).length;
      next += fresh;
      nacks += batch.length;
    } catch (error) {
      // No room for new ones: those that came again are still told.
      assert.equal((error as { code?: string }).code, "OVERLOADED");
      refused++;
      nacks += run.nackAll(batch.slice(0, again.length), "a").length;
    }
    const offsets = [{ topic: "orders", partition: 0, offset: next, endOffset: next }];
    run.execute(run.commitCommand([], { memberId: "a", offsets }));
    for (const { letters } of run.pending().partitions) {
      const sequences = letters.map(({ sequence }) => sequence);
      const written = { type: "DeadLettersWritten" as const, topic: "orders", partition: 0 };
      run.execute({ ...written, group: GROUP, sequences });
    }
    run.told.length = 0;
    bytes += journalBytes(run);
    largest = Math.max(largest, run.state.retry.entries.size + run.state.retry.done.size);
    run.advance(STEP_MS);
  }
  assert.ok(largest <= maxPendingRetries, `${largest} waited`);
  assert.ok(nacks > 400_000, `${nacks} nacks were taken`);
  assert.equal(run.describe().offsets[0]!.offset, next, "commits have moved on");
  assert.ok(bytes / nacks < 30, `${bytes / nacks} bytes of journal a nack`);
  assert.equal(run.state.retry.done.size, 0);
  assert.ok(dead + refused > 0);
});

/** Numbers that a set of rows keeps, and how many arrays they lie in. */
function sizeOf({ chunks }: Rows): { numbers: number; arrays: number } {
  return { numbers: chunks.reduce((sum, chunk) => sum + chunk.length, 0), arrays: chunks.length };
}

Deno.test("100,000 retries that wait are a few megabytes, in memory and in a snapshot", () => {
  const run = new RetryRun();
  run.counts = { orders: 8 };
  let journal = 0;
  for (let from = 0; from < 100_000; from += 2_000) {
    const nacks = Array.from({ length: 2_000 }, (_, i) => {
      const n = from + i;
      const fraction = (n * 0.618_034) % 1;
      return run.nackOf(n % 8, n * 3, { fraction, delayMs: 1_000 + Math.floor(fraction * 1e6) });
    });
    run.nackAll(nacks);
    journal += journalBytes(run);
    run.now += 1;
  }
  const { retry } = run.state;
  const parts = [retry.entries, queueOf(run.state).due, queueOf(run.state).ready].map(sizeOf);
  const bytes = parts.reduce((sum, { numbers, arrays }) => sum + 8 * numbers + 100 * arrays, 0);
  assert.ok(bytes < 9_000_000, `${bytes} bytes in memory`);
  assert.ok(journal / 100_000 < 20, `${journal / 100_000} bytes of journal a nack`);
  const stored = JSON.stringify(encodeGroupState(run.state));
  assert.ok(stored.length < 2_500_000, `${stored.length} bytes in a snapshot`);
  const before = run.waiting();
  run.state = decodeGroupState(JSON.parse(stored));
  assert.deepEqual(run.waiting(), before);
  assert.equal(queueOf(run.state).due.size, 100_000);
});
