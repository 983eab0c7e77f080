// Owns the list of what can be simulated: one broker whole, or several that decide together.
// Refuses to own any of it. Invariant: a scene, a seed and a mutant give the same run each time.
import type { ClusterMutant } from "./cluster/cluster_mutant.ts";
import { DECISION_MUTANTS } from "./cluster/decision_mutants.ts";
import { BROKER_MUTANTS } from "./cluster/broker_mutants.ts";
import { brokersScene } from "./cluster/broker_scene.ts";
import { decisionScene } from "./cluster/decision_scene.ts";
import { REPLICA_MUTANTS } from "./cluster/replica_mutants.ts";
import { replicaScene } from "./cluster/replica_scene.ts";
import type { LeadingProcess } from "./cluster/replica_watch.ts";
import { runClusterSeed, type SceneMaker } from "./cluster/run_cluster.ts";
import { mutantNamed, MUTANTS } from "./mutants/mutants.ts";
import type { SceneResult } from "./report.ts";
import { runSeed } from "./run_seed.ts";

export interface RunnableScene {
  readonly name: string;
  readonly mutants: readonly string[];
  run(
    seed: number,
    options: { mutant: string | null; tailEvents: number },
  ): Promise<SceneResult>;
}

const brokerScene: RunnableScene = {
  name: "broker",
  mutants: MUTANTS.map(({ name }) => name),
  async run(seed, { mutant, tailEvents }) {
    const bad = mutant === null ? null : mutantNamed(mutant);
    return { scene: "broker", ...await runSeed(seed, { mutant: bad, tailEvents }) };
  },
};

function clusterScene<P extends LeadingProcess>(
  maker: SceneMaker<P>,
  known: readonly ClusterMutant[],
): RunnableScene {
  return {
    name: maker.name,
    mutants: known.map(({ name }) => name),
    run: (seed, { mutant: name, tailEvents }) => {
      const mutant = known.find((each) => each.name === name) ?? null;
      return runClusterSeed(seed, maker, { mutant, tailEvents });
    },
  };
}

const decisions = clusterScene(decisionScene, DECISION_MUTANTS);
const clusters = clusterScene(brokersScene, BROKER_MUTANTS);
const replicas = clusterScene(replicaScene, REPLICA_MUTANTS);

export const SCENES: readonly RunnableScene[] = [clusters, replicas, decisions, brokerScene];

/** The scene called `name`; throws a plain Error that lists all of them when there is none. */
export function sceneNamed(name: string): RunnableScene {
  const found = SCENES.find((scene) => scene.name === name);
  if (found !== undefined) return found;
  throw new Error(`no scene ${name}; there are ${SCENES.map((scene) => scene.name).join(", ")}`);
}
