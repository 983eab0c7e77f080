// Owns crashes at every step of a compaction, and any sequence of appends, transactions, cuts and compactions.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { AbortedTransaction, Log } from "../storage/log.ts";
import {
  appendKeyed,
  appendMarker,
  compaction,
  type LoggedRecord,
  outlineOf,
  recordsOf,
} from "./support/keyed_log.ts";
import type { CrashFate } from "./support/simulated_disk.ts";
import { atRest, LOG, SimulatedMachine } from "./support/simulated_logs.ts";
import { settle } from "./support/virtual_time.ts";

const SMALL = { segmentBytes: 340, indexIntervalBytes: 100 };
const MAX_STEPS = 2_000;
const RANDOM_SEEDS = atRest.encryption === "none" ? 5 : 1;
const RUNS = 60;

/** Newest record of each key: what compaction must never change. */
function newestOf(records: readonly LoggedRecord[]): Map<string | null, number> {
  return new Map(records.map(({ key, offset }) => [key, offset]));
}

async function scene(machine: SimulatedMachine): Promise<Log> {
  const log = await machine.open(SMALL, { checkpointBytes: 500 });
  for (let count = 0; count < 9; count++) await appendKeyed(log, [`k${count % 4}`, "x"]);
  await appendKeyed(log, [{ key: "x", value: null }], { leaderEpoch: 4 });
  for (let count = 0; count < 6; count++) {
    await appendKeyed(log, [`k${count % 2}`], { leaderEpoch: 5 });
  }
  // An earlier compaction has left its traces.
  await log.compact!(compaction({ now: 20_000 }));
  for (let count = 0; count < 12; count++) {
    await appendKeyed(log, [`k${count % 3}`], { leaderEpoch: 6 });
  }
  await settle();
  return log;
}

async function crashAtEveryStep(): Promise<number> {
  const fates: [CrashFate | "kill", number][] = [["kill", 1], ["keep", 1], ["drop", 1]];
  for (let seed = 1; seed <= RANDOM_SEEDS; seed++) fates.push(["random", seed]);
  let steps = 0;
  for (const [fate, seed] of fates) {
    for (let step = 1; step < MAX_STEPS; step++) {
      const machine = new SimulatedMachine({ seed: seed * 1_000 + step });
      const { disk } = machine;
      const log = await scene(machine);
      const before = await recordsOf(log);
      const end = log.logEndOffset;
      disk.crashAtChange = disk.changes + step;
      await log.compact!(compaction({ now: 40_000 })).catch((error) => {
        if (!disk.isOff) throw error;
      });
      await settle();
      const crashed = disk.isOff;
      if (fate === "kill") disk.killProcess();
      else disk.crash(fate);
      const what = `${fate} ${seed}, step ${step}: ${disk.calls.at(-1)}`;
      await afterwards(machine, { before, end }).catch((error) => {
        throw new Error(`after a crash (${what})`, { cause: error });
      });
      if (!crashed) break;
      steps++;
    }
  }
  return steps;
}

async function afterwards(
  machine: SimulatedMachine,
  { before, end }: { before: readonly LoggedRecord[]; end: number },
): Promise<void> {
  let log = await machine.open(SMALL, { checkpointBytes: 500 });
  assert.deepEqual([log.fault, log.logStartOffset, log.logEndOffset], [null, 0, end]);
  const after = await recordsOf(log);
  const known = new Map(before.map((record) => [record.offset, record]));
  for (const record of after) assert.deepEqual(record, known.get(record.offset));
  const newest = newestOf(before);
  newest.delete("x");
  for (const [key, offset] of newest) assert.equal(newestOf(after).get(key), offset, `key ${key}`);
  assert.deepEqual(machine.disk.paths(LOG).filter((path) => /swap|tmp/.test(path)), []);
  // Offsets and epochs outlive whatever is opened from what was left, without any checkpoint or index to help.
  machine.disk.crash("drop");
  for (const path of machine.disk.paths(LOG)) {
    if (!/\.(?:log|keys)$/.test(path)) await machine.disk.session().remove(path);
  }
  await machine.disk.session().syncDirectory(LOG);
  log = await machine.open(SMALL, { checkpointBytes: 500 });
  assert.deepEqual([log.fault, log.logEndOffset], [null, end]);
  assert.deepEqual(await recordsOf(log), after);
  await appendKeyed(log, ["k0"], { leaderEpoch: 9 });
  await log.compact(compaction({ now: 50_000 }));
  const outline = await outlineOf(log);
  assert.equal(outline.filter((record) => record.startsWith("k1@")).length <= 3, true);
  assert.equal(newestOf(await recordsOf(log)).get("k0"), end);
  await log.close();
}

Deno.test("a crash at any step of a compaction loses no newest record, moves no offset and leaves no gap", async () => {
  const steps = await crashAtEveryStep();
  assert.ok(steps > 100, `there was something to crash: ${steps}`);
});

Deno.test("a crash at any step of recovery from a crash within a swap loses nothing either", async () => {
  for (let seed = 1; seed <= 25; seed++) {
    for (let step = 1; step < MAX_STEPS; step++) {
      const machine = new SimulatedMachine({ seed: seed * 1_000 + step });
      const { disk } = machine;
      const log = await scene(machine);
      const before = await recordsOf(log);
      const end = log.logEndOffset;
      disk.crashAtChange = disk.changes + 3 * seed;
      await log.compact!(compaction({ now: 40_000 })).catch(() => undefined);
      await settle();
      disk.crash("random");
      disk.crashAtChange = disk.changes + step;
      await machine.open(SMALL).catch(() => undefined);
      await settle();
      const crashed = disk.isOff;
      disk.crash("random");
      await afterwards(machine, { before, end }).catch((error) => {
        throw new Error(`after crashes at ${seed} and ${step}`, { cause: error });
      });
      if (!crashed) break;
    }
  }
});

type Step =
  | { type: "append"; producer: number; keys: number[]; tombstone: boolean; transactional: boolean }
  | { type: "end"; producer: number; commit: boolean }
  | { type: "compact"; elapsedMs: number; behind: number }
  | { type: "reopen"; crash: boolean }
  | { type: "cut"; back: number };

const producer = fc.integer({ min: 1, max: 3 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant("append" as const),
      producer,
      keys: fc.array(fc.nat(5), { minLength: 1, maxLength: 4 }),
      tombstone: fc.boolean(),
      transactional: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("end" as const), producer, commit: fc.boolean() }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("compact" as const),
      elapsedMs: fc.nat(8_000),
      behind: fc.nat(8),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant("reopen" as const), crash: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant("cut" as const), back: fc.nat(6) }),
  },
);

/** What was written, and who is in a transaction. */
class Model {
  records = new Map<number, LoggedRecord & { producer: number; transactional: boolean }>();
  open = new Map<number, number>();
  aborted: AbortedTransaction[] = [];
  compactedTo = 0;

  /** The newest committed record of each key below `limit`; tombstones as absent keys. */
  table(records: Iterable<LoggedRecord>, limit: number): Map<string | null, string> {
    const table = new Map<string | null, string>();
    for (const { key, value, offset } of records) {
      if (offset >= limit || this.isAborted(offset)) continue;
      if (value === null) table.delete(key);
      else table.set(key, value);
    }
    return table;
  }

  stable(end: number): number {
    return Math.min(end, ...this.open.values());
  }

  isAborted(offset: number): boolean {
    const record = this.records.get(offset);
    return record?.transactional === true &&
      this.aborted.some(({ producerId, firstOffset, lastOffset }) =>
        producerId === record.producer && firstOffset <= offset && offset <= lastOffset
      );
  }
}

Deno.test("any sequence of appends, transactions, cuts, crashes and compactions leaves every key the value it had", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
      const machine = new SimulatedMachine();
      const model = new Model();
      let log: Log = await machine.open(SMALL);
      let now = 100_000;
      for (const each of steps) {
        if (each.type === "append") await append(log, model, each);
        else if (each.type === "end") await end(log, model, each);
        else if (each.type === "cut") {
          // Only what no compaction and no transaction has relied on may be cut: a follower's tail.
          const lowest = Math.max(model.compactedTo, ...model.aborted.map((a) => a.lastOffset + 1));
          if (model.open.size > 0 || log.logEndOffset - each.back < lowest) continue;
          await log.truncateTo(log.logEndOffset - each.back);
          for (const offset of model.records.keys()) {
            if (offset >= log.logEndOffset) model.records.delete(offset);
          }
        } else if (each.type === "reopen") {
          if (each.crash) machine.disk.crash("drop");
          else await log.close();
          log = await machine.open(SMALL);
        } else {
          now += each.elapsedMs;
          const keepFrom = model.stable(Math.max(0, log.logEndOffset - each.behind));
          model.compactedTo = Math.max(model.compactedTo, keepFrom);
          await log.compact!(compaction({ now, keepFrom, aborted: model.aborted }));
        }
        await check(log, model);
      }
      await log.close();
    }),
    { numRuns: RUNS },
  );
});

async function append(
  log: Log,
  model: Model,
  { producer, keys, tombstone, transactional }: Extract<Step, { type: "append" }>,
): Promise<void> {
  const inTransaction = transactional || model.open.has(producer);
  const records = keys.map((key, index) => {
    const isTombstone = tombstone && index === 0;
    return isTombstone ? { key: `k${key}`, value: null } : { key: `k${key}` };
  });
  const base = await appendKeyed(log, records, {
    producerId: producer,
    transactional: inTransaction,
  });
  if (inTransaction && !model.open.has(producer)) model.open.set(producer, base);
  records.forEach(({ key, value }, index) => {
    const offset = base + index;
    model.records.set(offset, {
      offset,
      key,
      value: value === null ? null : `${offset}`.padEnd(20, "."),
      producer,
      transactional: inTransaction,
    });
  });
}

async function end(
  log: Log,
  model: Model,
  { producer, commit }: Extract<Step, { type: "end" }>,
): Promise<void> {
  const firstOffset = model.open.get(producer);
  if (firstOffset === undefined) return;
  const lastOffset = await appendMarker(log, { producerId: producer, commit });
  model.open.delete(producer);
  if (!commit) model.aborted.push({ producerId: producer, firstOffset, lastOffset });
}

async function check(log: Log, model: Model): Promise<void> {
  const found = await recordsOf(log);
  for (const { offset, key, value } of found) {
    const { key: knownKey, value: knownValue } = model.records.get(offset)!;
    assert.deepEqual({ key, value }, { key: knownKey, value: knownValue }, `offset ${offset}`);
  }
  const limit = model.stable(log.logEndOffset);
  const sorted = [...model.records.values()].sort((a, b) => a.offset - b.offset);
  assert.deepEqual(model.table(found, limit), model.table(sorted, limit));
}
