// Owns the property that any sequence of appends, retention with and without an archive, cuts, failures of the archive,
// crashes and restarts leaves a log that reads as one piece, from a start that only retention raises.
import assert from "node:assert/strict";
import fc from "fast-check";
import { BrokerError } from "../storage/broker_error.ts";
import type { Log } from "../storage/log.ts";
import { ArchivedMachine } from "./support/archived_machine.ts";
import { readAll } from "./contracts/log_fixture.ts";
import { appendEach } from "./support/simulated_logs.ts";

const RUNS = 120;

type Step =
  | { type: "append"; count: number }
  | { type: "retain"; keepBytes: number; archive: boolean; archiveMs: number | null }
  | { type: "fail"; calls: RegExp | null }
  | { type: "damage" }
  | { type: "reopen"; crash: boolean };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ type: fc.constant("append" as const), count: fc.nat(6) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      type: fc.constant("retain" as const),
      keepBytes: fc.nat(1_500),
      archive: fc.boolean(),
      archiveMs: fc.option(fc.nat(60), { nil: null }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("fail" as const),
      calls: fc.constantFrom(null, null, /put/, /remove/, /list/, /./),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("damage" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("reopen" as const), crash: fc.boolean() }),
  },
);

/** Batch n holds the offsets 2n and 2n + 1, at time 1000 + 2n. */
class Model {
  batches: Uint8Array[] = [];
  startOffset = 0;
}

async function retain(
  log: Log,
  model: Model,
  step: Extract<Step, { type: "retain" }>,
): Promise<void> {
  const now = 1_000 + log.logEndOffset;
  const policy = { now, retentionMs: null, retentionBytes: step.keepBytes, keepFrom: 1e9 };
  const before = log.logStartOffset;
  try {
    await log.applyRetention({
      ...policy,
      ...(step.archive ? { archive: { retentionMs: step.archiveMs } } : {}),
    });
  } catch (error) {
    assert.ok(error instanceof BrokerError && error.code === "ARCHIVE_UNAVAILABLE", String(error));
  }
  const isForEver = step.archive && step.archiveMs === null;
  if (isForEver) {
    assert.equal(log.logStartOffset, before, "nothing goes that is to be kept for ever");
  }
  if (step.archive && step.archiveMs !== null) {
    const oldest = now - step.archiveMs;
    // Nothing that is young enough has gone.
    assert.ok(log.logStartOffset === before || 1_000 + log.logStartOffset - 2 < oldest);
  }
  model.startOffset = log.logStartOffset;
}

async function check(at: ArchivedMachine, log: Log, model: Model): Promise<void> {
  assert.equal(log.logEndOffset, 2 * model.batches.length);
  const failing = at.archive.failing;
  at.archive.failing = null;
  await at.machine.clock.advance(60_000);
  assert.deepEqual(await readAll(log), model.batches.slice(log.logStartOffset / 2));
  for (let offset = log.logStartOffset; offset < log.logEndOffset; offset += 6) {
    const even = offset - offset % 2;
    assert.equal(await log.offsetForTimestamp(1_000 + even), even);
  }
  at.archive.failing = failing;
}

Deno.test("any sequence of appends, retention, failures and restarts leaves an archived log in one piece", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 40 }), async (steps) => {
      const at = new ArchivedMachine();
      const model = new Model();
      let log = await at.open();
      for (const each of steps) {
        if (each.type === "append") model.batches.push(...await appendEach(log, each.count));
        else if (each.type === "retain") await retain(log, model, each);
        else if (each.type === "fail") at.archive.failing = each.calls;
        else {
          const path = "topics/t1/0/archive.index";
          const isDamaged = each.type === "damage" && at.machine.disk.paths().includes(path);
          if (each.type === "reopen" && each.crash) at.machine.disk.crash("drop");
          else await log.close();
          if (isDamaged) {
            at.machine.disk.overwrite(path, (bytes) => bytes.with(8, bytes[8]! ^ 255));
            at.archive.failing = null;
            await at.machine.clock.advance(60_000);
          }
          log = await at.open();
          // A listing also finds what was still to be removed: the start may come back, never what was kept go away.
          if (isDamaged) assert.ok(log.logStartOffset <= model.startOffset);
          else assert.equal(log.logStartOffset, model.startOffset);
          model.startOffset = log.logStartOffset;
        }
        await check(at, log, model);
      }
      await log.close();
    }),
    { numRuns: RUNS },
  );
});
