// Owns one run: who takes part, faults, healing, convergence, a clean restart, the last look.
// Refuses to own rules (ledgers/, convergence.ts) and how results are shown (main.ts).
// Invariant: the same seed and mutant give the same trace, event by event.
import { GroupAdmin } from "./clients/group_admin.ts";
import { IdempotentProducer } from "./clients/idempotent_producer.ts";
import { Inspector } from "./clients/inspector.ts";
import { Member } from "./clients/member.ts";
import { Producer } from "./clients/producer.ts";
import { PublishMeter } from "./clients/publish_meter.ts";
import { TailReader } from "./clients/tail_reader.ts";
import { TopicAdmin } from "./clients/topic_admin.ts";
import { Transformer } from "./clients/transformer.ts";
import { Convergence } from "./convergence.ts";
import { Faults } from "./faults.ts";
import type { Mutant } from "./mutants/mutant.ts";
import type { GroupLedgers } from "./client_scene.ts";
import { Simulation, WEAK_TOPIC } from "./simulation.ts";
import { describeError, World } from "./world.ts";

/** Virtual time between two looks at whether the run has ended. */
const SLICE_MS = 250;
/** A run that lasts longer hangs. */
const MAX_RUN_MS = 600_000;
const CALM_MS = 500;
/** One in so many seeds has an application that transforms by transactions. */
const TRANSFORMS_ONE_IN = 3;

export interface SeedResult {
  readonly seed: number;
  readonly mutant: string | null;
  readonly violations: readonly string[];
  readonly traceHash: string;
  readonly events: number;
  readonly tail: readonly string[];
  readonly virtualMs: number;
  /** Processes of the broker, the first and the last clean restart included. */
  readonly starts: number;
}

/** Runs one seed to its end or to its first violation. */
export async function runSeed(
  seed: number,
  options: { mutant?: Mutant | null; tailEvents?: number } = {},
): Promise<SeedResult> {
  const mutant = options.mutant ?? null;
  const world = new World(seed, mutant?.plan);
  const simulation = new Simulation(world, mutant);
  const onRejection = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    world.violation(`nobody handled ${describeError(event.reason)}`);
  };
  globalThis.addEventListener("unhandledrejection", onRejection);
  try {
    world.note("plan", JSON.stringify(world.plan));
    world.start("scenario", () => new Scenario(simulation).run());
    while (world.phase !== "ended" && world.violations.length === 0) {
      await world.time.advance(SLICE_MS);
      if (world.time.monotonic() > MAX_RUN_MS) world.violation("the run does not end");
    }
    world.phase = "ended";
  } finally {
    globalThis.removeEventListener("unhandledrejection", onRejection);
  }
  return {
    seed,
    mutant: mutant?.name ?? null,
    violations: world.violations,
    tail: world.trace.tail(options.tailEvents ?? 0),
    events: world.trace.count,
    traceHash: world.trace.hash(),
    virtualMs: world.time.monotonic(),
    starts: simulation.machine.starts,
  };
}

class Scenario {
  readonly #inspector: Inspector;
  readonly #faults: Faults;
  readonly #groupAdmin: GroupAdmin;
  readonly #topicAdmin: TopicAdmin;
  readonly #meter: PublishMeter;
  readonly #members = new Map<GroupLedgers, Member[]>();
  readonly #transformer: Transformer | null;

  constructor(private readonly simulation: Simulation) {
    this.#inspector = new Inspector(simulation);
    this.#faults = new Faults(simulation);
    this.#groupAdmin = new GroupAdmin(simulation);
    this.#topicAdmin = new TopicAdmin(simulation, "admin0");
    this.#meter = new PublishMeter(simulation.world, simulation.machine);
    const { world: { seed }, machine: { mutant } } = simulation;
    const transforms = mutant === null
      ? seed % TRANSFORMS_ONE_IN === 1
      : mutant.transforms === true;
    this.#transformer = transforms ? new Transformer(simulation, "x0") : null;
  }

  async run(): Promise<void> {
    const { world, machine, topicNames } = this.simulation;
    world.start("machine", () => machine.run());
    machine.onStarted(() => world.start("inspector", () => this.#inspector.readAll()));
    while (machine.broker === null) await world.sleep(10);
    for (const name of topicNames.slice(0, -1)) await this.#topicAdmin.create(name);
    this.#startClients();
    world.start("faults", () => this.#faults.run());
    await world.sleep(world.plan.faultPhaseMs);
    world.phase = "calm";
    this.#faults.heal();
    await world.sleep(CALM_MS);
    await this.#end();
    world.phase = "ended";
  }

  #startClients(): void {
    const { world, groups } = this.simulation;
    const { plan } = world;
    const many = (count: number, make: (number: number) => { run(): Promise<void> }) => {
      for (let number = 0; number < count; number++) {
        const client = make(number);
        world.start(client.constructor.name, () => client.run());
      }
    };
    many(plan.producers, (number) => new Producer(this.simulation, this.#meter, `p${number}`));
    many(1, (number) => new IdempotentProducer(this.simulation, `i${number}`));
    if (this.#transformer !== null) many(1, () => this.#transformer!);
    many(plan.readers, (number) => new TailReader(this.simulation, `reader${number}`));
    if (plan.topicChanges) {
      many(2, (number) => new TopicAdmin(this.simulation, `admin${number}`));
    }
    many(1, () => this.#inspector);
    many(1, () => this.#groupAdmin);
    for (const ledgers of groups) {
      const members: Member[] = [];
      this.#members.set(ledgers, members);
      many(plan.membersPerGroup, (number) => {
        const member = this.#member(ledgers, number);
        members.push(member);
        return member;
      });
    }
  }

  #member(ledgers: GroupLedgers, number: number): Member {
    const { world, topicNames } = this.simulation;
    const name = `${ledgers.group}m${number}`;
    const topics = topicNames.filter((topic) => topic !== WEAK_TOPIC)
      .filter(() => !world.oneIn(3));
    return new Member(this.simulation, ledgers, {
      name,
      topics,
      instanceId: world.oneIn(4) ? name : null,
      transport: world.chance.pick(["websocket", "http"]),
      sessionTimeoutMs: world.chance.pick([2_000, 6_000]),
    });
  }

  async #end(): Promise<void> {
    const { world } = this.simulation;
    const prober = new Producer(this.simulation, this.#meter, "prober");
    const members = this.#members;
    const groupAdmin = this.#groupAdmin;
    const transformer = this.#transformer;
    const clients = { members, groupAdmin, prober, transformer };
    const convergence = new Convergence(this.simulation, clients);
    await convergence.settle();
    if (world.violations.length > 0) return;
    world.phase = "draining";
    await convergence.drain();
    if (world.violations.length > 0) return;
    await this.#lookAtAll();
    await this.#restartCleanly();
    await this.#lookAtAll();
  }

  async #lookAtAll(): Promise<void> {
    const { topicNames, machine, groups, world } = this.simulation;
    try {
      for (const name of topicNames) {
        const topic = machine.broker?.topic(name) ?? null;
        for (let partition = 0; partition < (topic?.partitionCount ?? 0); partition++) {
          await this.#inspector.readWhole(topic!, partition);
        }
      }
      for (const ledgers of groups) await this.#groupAdmin.look(ledgers);
    } catch (error) {
      world.violation(`without a fault a look is answered ${describeError(error)}`);
    }
  }

  async #restartCleanly(): Promise<void> {
    const { world, machine } = this.simulation;
    await machine.close();
    while (machine.broker === null && world.violations.length === 0) await world.sleep(10);
  }
}
