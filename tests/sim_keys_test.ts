// Owns proof that keys hold through kills, power cuts, crashes at any step of the disk, failing syncs, full disks and a
// metadata store that fails: simulated, with the real log, in virtual time.
// Refuses to own what else a broker promises (sim_test.ts).
import assert from "node:assert/strict";
import { KeyPublisher } from "./sim/clients/key_publisher.ts";
import { Faults } from "./sim/faults.ts";
import { ConnectionLost } from "./sim/incarnation.ts";
import { valuesIn } from "./sim/ledgers/partition_ledger.ts";
import { FAULT_KINDS, type Plan } from "./sim/plan.ts";
import { Simulation } from "./sim/simulation.ts";
import { describeError, World } from "./sim/world.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { TOPIC_CONFIG } from "./support/memory_broker.ts";

/** Seeds that between them catch a broker that forgets a doubtful append, does not read its log, or hurries its snapshots. */
const SEEDS = [2, 4, 7, 16, 27, 32, 37, 38];
const TOPIC = "keyed";
const PARTITIONS = 3;
const SLICE_MS = 250;
const FAULT_PHASE_MS = 6_000;
/** After the last fault everything that was begun is answered within this. */
const FINISH_LIMIT_MS = 60_000;

/** A process trusts the wall clock that it starts with: a jump of a day would end the time of every key. */
const FAULTS = FAULT_KINDS.filter((kind) => kind !== "wallJump");

function planOf(plan: Plan): Plan {
  const faults = plan.faults.filter((kind) => kind !== "wallJump");
  return {
    ...plan,
    faults: faults.length > 0 ? faults : FAULTS,
    faultPhaseMs: FAULT_PHASE_MS,
    groups: 0,
    topicChanges: false,
    weakTopic: false,
  };
}

async function runSeed(seed: number) {
  const world = new World(seed, planOf);
  const simulation = new Simulation(world, null);
  const publishers = (["request", "messages"] as const).flatMap((kind) =>
    [1, 2].map((number) => new KeyPublisher(simulation, TOPIC, { name: `${kind}${number}`, kind }))
  );
  const stored = new Map<string, string[]>();
  world.start("scenario", async () => {
    await scenario(simulation, publishers, stored);
    world.phase = "ended";
  });
  while (world.phase !== "ended" && world.violations.length === 0) {
    await world.time.advance(SLICE_MS);
  }
  world.phase = "ended";
  return { world, publishers, stored, starts: simulation.machine.starts };
}

async function scenario(
  simulation: Simulation,
  publishers: readonly KeyPublisher[],
  stored: Map<string, string[]>,
): Promise<void> {
  const { world, machine } = simulation;
  world.start("machine", () => machine.run());
  while (machine.broker === null) await world.sleep(10);
  const config = { ...TOPIC_CONFIG, retentionHours: 0, segmentBytes: 4_000 };
  await machine.ask(
    "admin",
    (broker) => broker.createTopic({ name: TOPIC, partitions: PARTITIONS, config }),
  );
  for (const publisher of publishers) world.start("publisher", () => publisher.run());
  const faults = new Faults(simulation);
  world.start("faults", () => faults.run());
  await world.sleep(world.plan.faultPhaseMs);
  world.phase = "calm";
  faults.heal();
  const healedAt = world.time.monotonic();
  while (!publishers.every(({ isDone }) => isDone)) {
    await world.sleep(SLICE_MS);
    if (world.time.monotonic() - healedAt < FINISH_LIMIT_MS) continue;
    return world.violation(`I6: not all is answered ${FINISH_LIMIT_MS} ms after the last fault`);
  }
  for (let partition = 0; partition < PARTITIONS; partition++) {
    for (const { value, offset } of await readAll(simulation, partition)) {
      stored.set(value, [...stored.get(value) ?? [], `${partition}/${offset}`]);
    }
  }
}

async function readAll(simulation: Simulation, partition: number) {
  const { world, machine } = simulation;
  for (;;) {
    try {
      const { batches } = await machine.ask(
        "reader",
        (broker) => broker.fetch({ topic: TOPIC, partition }, 0, { maxBytes: 1e9 }),
      );
      return valuesIn(batches);
    } catch (error) {
      if (!(error instanceof ConnectionLost || error instanceof BrokerError)) throw error;
      world.note("reader", describeError(error));
      await world.sleep(SLICE_MS);
    }
  }
}

for (const seed of SEEDS) {
  Deno.test(`what is published with keys is stored once under the faults of seed ${seed}`, async () => {
    const { world, publishers, stored, starts } = await runSeed(seed);
    assert.deepEqual(world.violations, []);
    const told = publishers.flatMap(({ places }) => [...places]);
    for (const [value, place] of told) assert.deepEqual(stored.get(value), [place], value);
    assert.equal(stored.size, told.length);
    assert.ok(told.length > 20, `only ${told.length} messages`);
    const retried = publishers.reduce((sum, publisher) => sum + publisher.retried, 0);
    if (starts > 1) assert.ok(retried > 0, "no request met a fault");
  });
}
