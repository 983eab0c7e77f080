// Owns the audit log under any order of changes, faults and crashes: nothing that was answered is missing, no chain breaks.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { AuditEntry } from "../actors/audit/types.ts";
import type { LocalBroker } from "../actors/local_broker.ts";
import { type AuditScene, auditScene, FACTS } from "./support/audit_scene.ts";
import type { CrashFate } from "./support/simulated_disk.ts";

/** Longer than a log whose disk failed waits before it is opened again. */
const REOPEN_MS = 60_000;

type Step =
  | { readonly type: "change"; readonly count: number; readonly ends: boolean }
  | { readonly type: "record" }
  | { readonly type: "failSync" }
  | { readonly type: "fillDisk" }
  | { readonly type: "storeAway" }
  | { readonly type: "wait" }
  | { readonly type: "restart" }
  | { readonly type: "crash"; readonly fate: CrashFate };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant("change" as const),
      count: fc.integer({ min: 1, max: 4 }),
      ends: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ type: "record" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "failSync" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "fillDisk" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "storeAway" as const }) },
  { weight: 2, arbitrary: fc.constant({ type: "wait" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "restart" as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("crash" as const),
      fate: fc.constantFrom<CrashFate>("keep", "drop", "random"),
    }),
  },
);

const ORDINARY_LIFE = ["wait", "record", "wait", "record", "wait"] as const;

/** What callers were told. */
class Told {
  readonly intents = new Set<number>();
  readonly outcomes = new Set<number>();
  readonly records = new Set<number>();
}

class Run {
  readonly told = new Told();
  readonly #scene: AuditScene = auditScene();
  #broker: LocalBroker | null = null;

  async broker(): Promise<LocalBroker> {
    return this.#broker ??= await this.#scene.open();
  }

  async take(step: Step): Promise<void> {
    const broker = await this.broker();
    const { disk, time, metadata } = this.#scene;
    if (step.type === "change") {
      await Promise.all(Array.from({ length: step.count }, () => this.#change(broker, step.ends)));
    } else if (step.type === "record") {
      const head = await unlessRefused(broker.audit.record({ ...FACTS, action: "key.delete" }));
      if (head !== null) this.told.records.add(head.sequence);
    } else if (step.type === "failSync") disk.failOnce("sync", /^topics\//);
    else if (step.type === "fillDisk") {
      const { capacityBytes } = disk;
      disk.capacityBytes = 0;
      await this.#change(broker, true);
      disk.capacityBytes = capacityBytes;
    } else if (step.type === "storeAway") {
      const { commit } = metadata;
      metadata.commit = () => Promise.reject(new Error("the store is away"));
      await this.#change(broker, true);
      metadata.commit = commit;
    } else if (step.type === "wait") await time.advance(REOPEN_MS);
    else if (step.type === "restart") await this.restart();
    else {
      disk.crash(step.fate);
      this.#broker = null;
    }
  }

  async restart(): Promise<void> {
    await this.#broker?.close().catch(() => undefined);
    this.#broker = null;
    await this.broker();
  }

  async #change(broker: LocalBroker, ends: boolean): Promise<void> {
    const intent = await unlessRefused(broker.audit.intend(FACTS));
    if (intent === null) return;
    this.told.intents.add(intent);
    if (!ends) return;
    const head = await unlessRefused(broker.audit.conclude(intent, { outcome: "success" }));
    if (head !== null) this.told.outcomes.add(intent);
  }
}

async function unlessRefused<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    const { code } = error as { code?: string };
    assert.ok(["AUDIT_UNAVAILABLE", "DISK_FULL"].includes(code ?? ""), `${error}`);
    return null;
  }
}

function check(entries: readonly AuditEntry[], told: Told): void {
  const outcomes = new Map<number, AuditEntry>();
  for (const entry of entries) {
    if (entry.intent === null) continue;
    assert.equal(outcomes.has(entry.intent), false, `intent ${entry.intent} ended twice`);
    outcomes.set(entry.intent, entry);
  }
  const bySequence = new Map(entries.map((entry) => [entry.sequence, entry]));
  for (const intent of told.intents) assert.equal(bySequence.get(intent)?.outcome, "intended");
  for (const intent of told.outcomes) assert.equal(outcomes.get(intent)?.outcome, "success");
  for (const record of told.records) assert.ok(bySequence.has(record));
  for (const { outcome, sequence } of entries) {
    if (outcome === "intended") assert.ok(outcomes.has(sequence), `intent ${sequence} never ended`);
  }
}

Deno.test("whatever fails and whenever the broker dies, the chain holds all that was answered, and every intent ends once", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const run = new Run();
      for (const step of steps) await run.take(step);
      await run.restart();
      // A fault that was still to come comes with one of these.
      for (const type of ORDINARY_LIFE) await run.take({ type });
      const broker = await run.broker();
      const verified = await broker.audit.verify();
      assert.equal(verified.intact, true, JSON.stringify(verified));
      const { entries } = await broker.audit.query({ order: "oldest", at: null, limit: 10_000 });
      assert.equal(entries.length, verified.entries);
      check(entries, run.told);
      await broker.close();
    }),
    { numRuns: 150 },
  );
});
