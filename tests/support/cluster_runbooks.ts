// Owns whole brokers of a cluster with the runbooks that are shipped, each with its own ports.
// Refuses to own brokers, network and disks (cluster_scene.ts). Invariant: whoever leads the executions can carry them out.
import { QuotaGate } from "../../api/quota/gate.ts";
import type { Execution, ExecutionRequest } from "../../actors/runbook/types.ts";
import { clusterPorts } from "../../ops/runbooks/cluster_ports.ts";
import { allRunbooks } from "../../ops/runbooks/install.ts";
import type { Sample } from "../../actors/measurement/types.ts";
import { type ClusterScene, clusterScene } from "./cluster_scene.ts";

export type ClusterRunbooks = Awaited<ReturnType<typeof clusterRunbooks>>;

export async function clusterRunbooks(names: readonly string[]) {
  const scene: ClusterScene = await clusterScene(names);
  const { time, store } = scene;
  const samples: Sample[] = [];

  function use(nodeId: string): void {
    const node = scene.node(nodeId);
    const { broker } = node;
    broker.runbooks.use(allRunbooks({
      broker,
      clock: time,
      timers: time,
      samples: {
        latest: () => samples.at(-1) ?? null,
        history: () => samples,
        onSample: () => () => {},
      },
      quotaUsage: (tenant) => new QuotaGate({ broker, clock: time, timers: null }).usage(tenant),
      cluster: clusterPorts(node, store),
    }));
  }

  for (const nodeId of names) use(nodeId);
  const start = async (nodeId: string) => {
    await scene.start(nodeId);
    use(nodeId);
  };
  const anybody = () => [...scene.nodes.values()][0]!.broker;
  const execute = (
    name: string,
    more: Pick<ExecutionRequest, "target"> & Partial<ExecutionRequest>,
  ) =>
    scene.until(
      anybody().runbooks.execute({ name, mode: "auto", reason: "a test", by: "ada", ...more }),
      120_000,
    );
  const execution = (executionId: string): Promise<Execution> =>
    scene.until(anybody().runbooks.execution(executionId));
  /** Until it has ended, or waits; at most `ms` of virtual time. */
  const settled = async (executionId: string, ms = 300_000): Promise<Execution> => {
    const since = time.monotonic();
    for (;;) {
      const now = await execution(executionId);
      if (now.state !== "running" || time.monotonic() - since >= ms) return now;
      await time.advance(500);
    }
  };
  return { ...scene, samples, start, execute, execution, settled };
}
