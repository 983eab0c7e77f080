// Owns crashes at every single step: whatever the log was doing, it opens again without a gap and holds what it promised.
import assert from "node:assert/strict";
import type { LogConfig } from "../storage/log.ts";
import { LogWitness } from "./support/log_witness.ts";
import type { CrashFate } from "./support/simulated_disk.ts";
import { atRest, CONFIG as ROOMY_CONFIG, LOG, SimulatedMachine } from "./support/simulated_logs.ts";
import { settle } from "./support/virtual_time.ts";

const CONFIG: Partial<LogConfig> = { segmentBytes: 350, indexIntervalBytes: 100 };
const RANDOM_SEEDS = atRest.encryption === "none" ? 3 : 1;
const MAX_STEPS = 1_000;

interface Scene {
  readonly machine: SimulatedMachine;
  readonly witness: LogWitness;
}

async function open({ machine, witness }: Scene, config = CONFIG): Promise<void> {
  const log = await machine.open(config, { checkpointBytes: 500 });
  assert.equal(log.fault, null);
  await witness.attach(log);
}

/**
 * Plays `scene` once for every change it makes on the disk, with the power cut (or the process killed) in that change's
 * place, and for every fate of what was not synced; then opens the log, goes on with it, and opens it once more.
 */
async function crashAtEveryStep(
  play: (scene: Scene) => Promise<void>,
  prepare: (scene: Scene) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const fates: [CrashFate | "kill", number][] = [["kill", 1], ["keep", 1], ["drop", 1]];
  for (let seed = 1; seed <= RANDOM_SEEDS; seed++) fates.push(["random", seed]);
  let steps = 0;
  for (const [fate, seed] of fates) {
    for (let step = 1; step < MAX_STEPS; step++) {
      const machine = new SimulatedMachine({ seed: seed * 1_000 + step });
      const scene = { machine, witness: new LogWitness() };
      await prepare(scene);
      machine.disk.crashAtChange = machine.disk.changes + step;
      const crashed = await cutShort(machine, () => play(scene));
      if (!crashed) {
        machine.disk.crashAtChange = null;
        break;
      }
      steps++;
      if (fate === "kill") machine.disk.killProcess();
      else machine.disk.crash(fate);
      const what = `${fate}, seed ${seed}, step ${step}: ${machine.disk.calls.at(-1)}`;
      await afterwards(scene).catch((error) => {
        throw new Error(`after a crash (${what})`, { cause: error });
      });
    }
  }
  assert.ok(steps >= fates.length, "there was something to crash");
}

/** Whether the power went before `play` was done, with all it had started. */
async function cutShort(machine: SimulatedMachine, play: () => Promise<void>): Promise<boolean> {
  try {
    await play();
    await settle();
  } catch (error) {
    if (!machine.disk.isOff) throw error;
  }
  return machine.disk.isOff;
}

async function afterwards(scene: Scene): Promise<void> {
  const isCreated = scene.witness.acknowledged > 0;
  await open(scene);
  const isLost = scene.machine.warnings.some(({ message }) => message.includes("no valid check"));
  assert.ok(!isCreated || !isLost, "no crash takes both slots of the checkpoint");
  const bases = scene.machine.disk.paths(LOG).map((path) => /(\d{20})\.log$/.exec(path)?.[1])
    .filter((digits) => digits !== undefined).map(Number);
  const dropped = bases.filter((_, index) => bases[index + 1]! <= scene.witness.startOffset);
  assert.deepEqual(dropped, [], "segments below the log start are gone");
  await scene.witness.append(2, { leaderEpoch: 9 });
  await scene.witness.check();
  scene.machine.disk.crash("drop");
  await open(scene);
  await scene.witness.append(1, { leaderEpoch: 9 });
  await scene.witness.close();
  await open(scene);
}

Deno.test("a crash at any step of a log's creation leaves an empty log", async () => {
  await crashAtEveryStep((scene) => open(scene));
});

Deno.test("a crash at any step of appending and rolling loses nothing that was acknowledged", async () => {
  await crashAtEveryStep(
    async ({ witness }) => {
      for (let count = 1; count <= 5; count++) await witness.append(count);
    },
    open,
  );
});

Deno.test("a crash at any step of an append in a new epoch, of the checkpoint and of indexes loses nothing", async () => {
  await crashAtEveryStep(
    async ({ witness }) => {
      await witness.append(1, { leaderEpoch: 4 });
      await witness.append(1, { leaderEpoch: 5, valueBytes: 300 });
      await settle();
      await witness.append(2, { leaderEpoch: 6, valueBytes: 100 });
    },
    async (scene) => {
      await open(scene);
      await scene.witness.append(2);
    },
  );
});

Deno.test("a crash at any step of appending with durability os keeps what was synced", async () => {
  await crashAtEveryStep(
    async ({ witness }) => {
      for (let count = 1; count <= 4; count++) await witness.append(count);
    },
    (scene) => open(scene, { ...CONFIG, durability: "os" }),
  );
});

async function severalSegments(scene: Scene): Promise<void> {
  await open(scene);
  for (let count = 0; count < 12; count++) await scene.witness.append(1);
  await settle();
}

Deno.test("a crash at any step of retention leaves a log without a gap that never starts at 0 again", async () => {
  await crashAtEveryStep(
    async ({ machine, witness }) => {
      await witness.applyRetention({
        now: machine.clock.now(),
        retentionMs: null,
        retentionBytes: 400,
        keepFrom: 20,
      });
    },
    severalSegments,
  );
});

Deno.test("a crash at any step of retention that drops everything keeps the log's offsets", async () => {
  const config = { ...CONFIG, segmentMs: 1_000 };
  await crashAtEveryStep(
    async ({ machine, witness }) => {
      await witness.applyRetention({
        now: machine.clock.now(),
        retentionMs: 0,
        retentionBytes: null,
        keepFrom: 1e9,
      });
      assert.deepEqual([witness.startOffset, witness.endOffset], [24, 24]);
    },
    async (scene) => {
      await severalSegments(scene);
      await scene.witness.close();
      await open(scene, config);
      await scene.machine.clock.advance(2_000);
    },
  );
});

Deno.test("a crash at any step of a cut leaves the log before it, after it, or in between, without a gap", async () => {
  for (const offset of [22, 13, 12, 5, 0]) {
    await crashAtEveryStep(async ({ witness }) => {
      await witness.truncateTo(offset);
      await witness.append(1, { leaderEpoch: 7 });
    }, severalSegments);
  }
});

Deno.test("a crash at any step of a cut with durability os loses nothing that was synced", async () => {
  await crashAtEveryStep(async ({ witness }) => {
    await witness.truncateTo(4);
  }, async (scene) => {
    await open(scene, { ...CONFIG, segmentBytes: 5_000, durability: "os" });
    await scene.witness.append(1);
    await scene.witness.append(3);
  });
});

Deno.test("a crash at any step of closing loses nothing", async () => {
  await crashAtEveryStep(({ witness }) => witness.close(), severalSegments);
});

Deno.test("a crash at any step of recovery, again and again, loses nothing", async () => {
  for (let seed = 1; seed <= 12; seed++) {
    for (let step = 1; step < MAX_STEPS; step++) {
      const machine = new SimulatedMachine({ seed: seed * 1_000 + step });
      const scene = { machine, witness: new LogWitness() };
      await severalSegments(scene);
      machine.disk.crashAtChange = machine.disk.changes + 1 + (seed % 2);
      await cutShort(machine, () => scene.witness.append(3).then(() => undefined));
      let crashed = true;
      for (let again = 0; again < 3; again++) {
        machine.disk.crash("random");
        machine.disk.crashAtChange = machine.disk.changes + step;
        crashed = await cutShort(machine, async () => void await machine.open(CONFIG));
      }
      machine.disk.crash("random");
      await afterwards(scene);
      if (!crashed) break;
    }
  }
});

Deno.test("a crash at any step of removing a log leaves it whole or gone", async () => {
  for (const fate of ["keep", "drop", "random"] as const) {
    for (let step = 1; step < MAX_STEPS; step++) {
      const machine = new SimulatedMachine({ seed: step });
      const scene = { machine, witness: new LogWitness() };
      await severalSegments(scene);
      await scene.witness.close();
      machine.disk.crashAtChange = machine.disk.changes + step;
      const crashed = await cutShort(machine, () => machine.store().remove(LOG));
      machine.disk.crash(fate);
      const names = await machine.store().list("topics");
      assert.deepEqual(machine.disk.paths().filter((path) => path.includes(".removed")), []);
      if (names.length > 0) {
        assert.deepEqual(names, [LOG]);
        await open(scene);
        await scene.witness.check();
        await scene.witness.close();
      } else {
        const log = await machine.open(CONFIG);
        assert.deepEqual([log.fault, log.logStartOffset, log.logEndOffset], [null, 0, 0]);
      }
      if (!crashed) {
        assert.deepEqual(names, []);
        break;
      }
    }
  }
});

const SIBLINGS = ["topics/t1/0", "topics/t1/1", "topics/t1/2"];

async function makeSiblings(machine: SimulatedMachine): Promise<void> {
  const store = machine.store();
  for (const name of SIBLINGS) await (await store.open(name, ROOMY_CONFIG)).close();
}

Deno.test("the last log that is removed from a directory takes it along, also when all go at once", async () => {
  const machine = new SimulatedMachine();
  await makeSiblings(machine);
  const store = machine.store();
  await store.remove("topics/t1/1");
  assert.deepEqual(await machine.disk.list("topics"), ["t1"]);
  await Promise.all(SIBLINGS.map((name) => store.remove(name)));
  assert.deepEqual(await machine.disk.list("topics"), []);
  const log = await store.open("topics/t1/0", ROOMY_CONFIG);
  assert.equal(log.logEndOffset, 0);
  await log.close();
});

Deno.test("a crash at any step of removing logs leaves no directory behind when they are removed again or tidied up", async () => {
  for (let step = 1; step < MAX_STEPS; step++) {
    const machine = new SimulatedMachine({ seed: step });
    await makeSiblings(machine);
    machine.disk.crashAtChange = machine.disk.changes + step;
    const store = machine.store();
    const crashed = await cutShort(
      machine,
      async () => void await Promise.all(SIBLINGS.map((name) => store.remove(name))),
    );
    machine.disk.crash("random");
    const again = machine.store();
    if (crashed) { for (const name of SIBLINGS) await again.remove(name); }
    await again.tidy("topics");
    assert.deepEqual(await machine.disk.list("topics"), [], `step ${step}`);
  }
});

Deno.test("tidying up removes directories without anything in them, and no log", async () => {
  const machine = new SimulatedMachine();
  await makeSiblings(machine);
  await machine.disk.makeDirectory("topics/left");
  await machine.store().tidy("topics");
  await machine.store().tidy("nowhere");
  assert.deepEqual(await machine.disk.list("topics"), ["t1"]);
  assert.deepEqual(await machine.store().list("topics"), SIBLINGS);
});
