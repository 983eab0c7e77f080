// Owns one run of a cluster: faults, healing, and what must be true some time after the last fault.
// Refuses to own who takes part (scenes) and the rules that hold all along (record_ledger.ts, replica_watch.ts).
// Invariant: the same scene, seed and mutant give the same trace, event by event.
import type { SeededRandomness } from "../../support/seeded_randomness.ts";
import { describeError, RunWorld } from "../world.ts";
import { SimulatedCluster } from "./cluster.ts";
import type { ClusterMutant } from "./cluster_mutant.ts";
import { ClusterFaults } from "./faults.ts";
import type { NodeProgram } from "./node_machine.ts";
import { type ClusterPlan, drawClusterPlan } from "./plan.ts";
import { type LeadingProcess, ReplicaWatch } from "./replica_watch.ts";

/** Virtual time between two looks at whether the run has ended. */
const SLICE_MS = 250;
/** A run that lasts longer hangs. */
const MAX_RUN_MS = 600_000;
/** After the last fault all is well within this virtual time. */
const CONVERGE_LIMIT_MS = 60_000;
const LOOK_EVERY_MS = 500;

export interface ClusterSeedResult {
  readonly seed: number;
  readonly scene: string;
  readonly mutant: string | null;
  readonly violations: readonly string[];
  readonly traceHash: string;
  readonly events: number;
  readonly tail: readonly string[];
  readonly virtualMs: number;
  readonly starts: number;
  readonly faults: Readonly<Record<string, number>>;
}

/** What takes part in a run. */
export interface Scene<P extends LeadingProcess> {
  readonly program: NodeProgram<P>;
  /** Before the faults begin; the brokers are starting. */
  begin(): Promise<void>;
  /** What is still wrong after the last fault; empty when all is well. */
  problems(): Promise<readonly string[]>;
  /** Once all is well, nothing more is done, and the scene looks at everything again. */
  end(): Promise<void>;
}

export interface SceneMaker<P extends LeadingProcess> {
  readonly name: string;
  /** Changes the plan after it was drawn: to what matters here. */
  readonly plan?: (plan: ClusterPlan) => ClusterPlan;
  /** `cluster` may be called once the brokers start. */
  make(
    world: RunWorld<ClusterPlan>,
    cluster: () => SimulatedCluster<P>,
    mutant: ClusterMutant | null,
  ): Scene<P>;
}

export interface ClusterRunOptions {
  readonly mutant?: ClusterMutant | null;
  readonly tailEvents?: number;
}

/** Runs one seed to its end or to its first violation. */
export async function runClusterSeed<P extends LeadingProcess>(
  seed: number,
  maker: SceneMaker<P>,
  options: ClusterRunOptions = {},
): Promise<ClusterSeedResult> {
  const mutant = options.mutant ?? null;
  const draw = (chance: SeededRandomness) => {
    const drawn = drawClusterPlan(chance);
    const plan = maker.plan?.(drawn) ?? drawn;
    return mutant?.plan?.(plan) ?? plan;
  };
  const world = new RunWorld<ClusterPlan>(seed, draw);
  const scene: Scene<P> = maker.make(world, () => cluster, mutant);
  const program: NodeProgram<P> = (ports) => scene.program(mutant?.ports?.(ports, world) ?? ports);
  const cluster: SimulatedCluster<P> = new SimulatedCluster(world, program);
  const watch = new ReplicaWatch(cluster);
  world.time.onStep = () => watch.check();
  const onRejection = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    world.violation(`nobody handled ${describeError(event.reason)}`);
  };
  globalThis.addEventListener("unhandledrejection", onRejection);
  try {
    world.note("plan", JSON.stringify(world.plan));
    world.start("run", () => run(cluster, scene));
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
    scene: maker.name,
    mutant: mutant?.name ?? null,
    violations: world.violations,
    tail: world.trace.tail(options.tailEvents ?? 0),
    events: world.trace.count,
    traceHash: world.trace.hash(),
    virtualMs: world.time.monotonic(),
    starts: cluster.starts,
    faults: cluster.counts.all(),
  };
}

async function run<P extends LeadingProcess>(
  cluster: SimulatedCluster<P>,
  scene: Scene<P>,
): Promise<void> {
  const { world } = cluster;
  const faults = new ClusterFaults(cluster);
  world.phase = "calm";
  cluster.start();
  await scene.begin();
  world.phase = "faults";
  world.start("faults", () => faults.run());
  await world.sleep(world.plan.faultPhaseMs);
  world.phase = "calm";
  faults.heal();
  if (await converges(world, scene)) await scene.end();
  world.phase = "ended";
}

async function converges<P extends LeadingProcess>(
  world: RunWorld,
  scene: Scene<P>,
): Promise<boolean> {
  const from = world.time.monotonic();
  for (;;) {
    await world.sleep(LOOK_EVERY_MS);
    const problems = await scene.problems();
    const tookMs = world.time.monotonic() - from;
    if (problems.length === 0) {
      world.note("run", `all is well after ${tookMs.toFixed()} ms`);
      return true;
    }
    if (tookMs < CONVERGE_LIMIT_MS) continue;
    world.violation(`I6: ${CONVERGE_LIMIT_MS} ms after the last fault: ${problems.join("; ")}`);
    return false;
  }
}
