// Owns the property that any sequence of calls leaves a log as a plain array of batches says.
// Refuses to fix what retention drops: the model checks that it was allowed, then follows.
// Invariant: the model is the array and the start offset, nothing else.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Log, LogConfig, LogStore } from "../../storage/log.ts";
import { assertOutOfRange, CONFIG, readAll, type RegisterLogTest, split } from "./log_fixture.ts";
import { sampleBatch } from "../support/sample_batches.ts";

const RUNS = 20;
const MAX_STEPS = 25;
const MODEL_CONFIG: LogConfig = { ...CONFIG, segmentBytes: 400, indexIntervalBytes: 100 };

interface ModelBatch {
  readonly bytes: Uint8Array;
  readonly baseOffset: number;
  readonly timestamps: readonly number[];
  readonly leaderEpoch: number;
}

interface Model {
  batches: ModelBatch[];
  startOffset: number;
  endOffset: number;
  leaderEpoch: number;
}

type Step =
  | { type: "append"; batches: { timestamps: number[]; valueBytes: number }[]; newEpoch: boolean }
  | { type: "read"; at: number; until: number; maxBytes: number }
  | { type: "truncate"; at: number }
  | { type: "retain"; by: "time" | "bytes"; limit: number; keepFrom: number }
  | { type: "find"; timestampMs: number; leaderEpoch: number }
  | { type: "reopen" };

const fraction = fc.double({ min: 0, max: 1, noNaN: true });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      type: fc.constant("append" as const),
      batches: fc.array(
        fc.record({
          timestamps: fc.array(fc.nat(1_000), { minLength: 1, maxLength: 4 }),
          valueBytes: fc.nat(150),
        }),
        { minLength: 1, maxLength: 3 },
      ),
      newEpoch: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("read" as const),
      at: fraction,
      until: fraction,
      maxBytes: fc.nat(1_500),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("truncate" as const), at: fraction }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant("retain" as const),
      by: fc.constantFrom("time" as const, "bytes" as const),
      limit: fc.nat(1_000),
      keepFrom: fraction,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("find" as const),
      timestampMs: fc.nat(1_100),
      leaderEpoch: fc.nat(8),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("reopen" as const) }) },
);

/** Registers the property. */
export function logModelContract(test: RegisterLogTest): void {
  test("any sequence of calls leaves what a plain array of batches says", async (first, reopen) => {
    let store: LogStore = first;
    let runs = 0;
    const property = fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: MAX_STEPS }),
      async (steps) => {
        const name = `model/${runs++}`;
        const model: Model = { batches: [], startOffset: 0, endOffset: 0, leaderEpoch: 0 };
        let log = await store.open(name, MODEL_CONFIG);
        try {
          for (const next of steps) {
            if (next.type === "reopen") {
              await log.close();
              store = await reopen();
              log = await store.open(name, MODEL_CONFIG);
            } else await perform(log, model, next);
            checkBounds(log, model);
          }
          assert.deepEqual(await readAll(log), model.batches.map((batch) => batch.bytes));
        } finally {
          await log.close();
          await store.remove(name);
        }
      },
    );
    await fc.assert(property, { numRuns: RUNS });
  });
}

function checkBounds(log: Log, model: Model): void {
  assert.deepEqual(
    [log.logStartOffset, log.logEndOffset, log.flushedOffset, log.sizeBytes],
    [model.startOffset, model.endOffset, model.endOffset, bytesOf(model.batches)],
  );
}

async function perform(
  log: Log,
  model: Model,
  step: Exclude<Step, { type: "reopen" }>,
): Promise<void> {
  switch (step.type) {
    case "append":
      return await append(log, model, step);
    case "read":
      return await read(log, model, step);
    case "truncate":
      return await truncate(log, model, step.at);
    case "retain":
      return await retain(log, model, step);
    case "find":
      return await find(log, model, step);
  }
}

async function append(log: Log, model: Model, step: Step & { type: "append" }): Promise<void> {
  if (step.newEpoch) model.leaderEpoch++;
  const baseOffset = model.endOffset;
  const added: ModelBatch[] = [];
  for (const { timestamps, valueBytes } of step.batches) {
    const options = { baseOffset: model.endOffset, leaderEpoch: model.leaderEpoch, timestamps };
    const bytes = sampleBatch({ ...options, valueBytes, mark: model.batches.length });
    added.push({ ...options, bytes });
    model.endOffset += timestamps.length;
  }
  model.batches.push(...added);
  const result = await log.append(added.map((batch) => batch.bytes.slice()));
  assert.deepEqual(result, { baseOffset, logEndOffset: model.endOffset });
}

/** What is read is a prefix of what may be read, and not empty when that is not: a log may stop at a segment's end. */
async function read(log: Log, model: Model, step: Step & { type: "read" }): Promise<void> {
  const offset = Math.round(step.at * (model.endOffset + 1));
  if (offset < model.startOffset || offset > model.endOffset) {
    return await assertOutOfRange(log, offset);
  }
  const endOffset = Math.round(step.until * (model.endOffset + 1));
  const expected: Uint8Array[] = [];
  let sizeBytes = 0;
  for (const batch of model.batches) {
    if (endOf(batch) <= offset) continue;
    if (endOf(batch) > endOffset || offset >= endOffset) break;
    sizeBytes += batch.bytes.length;
    if (expected.length > 0 && sizeBytes > step.maxBytes) break;
    expected.push(batch.bytes);
  }
  const found = split(await log.read(offset, { endOffset, maxBytes: step.maxBytes }));
  assert.deepEqual(found, expected.slice(0, found.length));
  assert.equal(found.length === 0, expected.length === 0);
}

async function truncate(log: Log, model: Model, at: number): Promise<void> {
  const offset = Math.round(at * (model.endOffset + 1));
  await log.truncateTo(offset);
  model.batches = model.batches.filter((batch) => endOf(batch) <= offset);
  const end = model.batches.at(-1);
  if (offset < model.endOffset) {
    model.endOffset = end === undefined ? model.startOffset : endOf(end);
  }
}

async function retain(log: Log, model: Model, step: Step & { type: "retain" }): Promise<void> {
  const keepFrom = Math.round(step.keepFrom * (model.endOffset + 1));
  const retentionMs = step.by === "time" ? 1_000 - step.limit : null;
  const retentionBytes = step.by === "bytes" ? step.limit : null;
  const start = await log.applyRetention({ now: 1_000, retentionMs, retentionBytes, keepFrom });
  const dropped = model.batches.filter((batch) => batch.baseOffset < start);
  const kept = model.batches.slice(dropped.length);
  if (dropped.length > 0) {
    assert.equal(start, endOf(dropped.at(-1)!), "the start lies between two batches");
    assert.ok(start <= keepFrom, "nothing from keepFrom on is dropped");
    assert.ok(kept.length > 0, "the newest is kept");
    const newest = Math.max(...dropped.flatMap((batch) => batch.timestamps));
    if (step.by === "time") assert.ok(newest <= step.limit, "nothing young is dropped");
    else assert.ok(bytesOf(kept) >= step.limit, "enough is kept");
  } else assert.equal(start, model.startOffset);
  model.startOffset = start;
  model.batches = kept;
}

async function find(log: Log, model: Model, step: Step & { type: "find" }): Promise<void> {
  const holder = model.batches.find((b) => Math.max(...b.timestamps) >= step.timestampMs);
  const found = await log.offsetForTimestamp(step.timestampMs);
  if (holder === undefined) assert.equal(found, null);
  else {
    const exact = holder.baseOffset + holder.timestamps.findIndex((t) => t >= step.timestampMs);
    assert.ok(found !== null && found >= holder.baseOffset && found <= exact, `found ${found}`);
  }
  const last = model.batches.findLast((batch) => batch.leaderEpoch <= step.leaderEpoch);
  // What an epoch before the first that is left answers, is not said once retention has dropped something.
  if (last === undefined && model.startOffset > 0) return;
  assert.deepEqual(
    log.endOffsetForEpoch(step.leaderEpoch),
    last === undefined
      ? { leaderEpoch: -1, endOffset: model.startOffset }
      : { leaderEpoch: last.leaderEpoch, endOffset: endOf(last) },
  );
}

function endOf(batch: ModelBatch): number {
  return batch.baseOffset + batch.timestamps.length;
}

function bytesOf(batches: readonly ModelBatch[]): number {
  return batches.reduce((sum, batch) => sum + batch.bytes.length, 0);
}
