// Owns the parts of a simulated cluster and how they hear of each other.
// Refuses to own what any of them does. Invariant: one world; each machine, the network and the metadata store fail alone.
import { Counts } from "./counts.ts";
import { MetadataService } from "./metadata_service.ts";
import { SimulatedNetwork } from "./network.ts";
import { NodeMachine, type NodeProcess, type NodeProgram } from "./node_machine.ts";
import type { ClusterPlan } from "./plan.ts";
import { RecordLedger } from "./record_ledger.ts";
import type { RunWorld } from "../world.ts";

export class SimulatedCluster<P extends NodeProcess> {
  readonly counts = new Counts();
  readonly network: SimulatedNetwork;
  readonly metadata: MetadataService;
  readonly records: RecordLedger;
  readonly machines: readonly NodeMachine<P>[];

  constructor(readonly world: RunWorld<ClusterPlan>, program: NodeProgram<P>) {
    const { plan } = world;
    this.network = new SimulatedNetwork(world, this.counts);
    this.network.weather.maxDelayMs = plan.maxNetworkMs;
    this.network.weather.repeatOneIn = plan.repeatOneIn;
    this.metadata = new MetadataService(world, this.counts);
    this.metadata.maxDelayMs = plan.maxMetadataMs / 2;
    this.records = new RecordLedger(world, this.metadata);
    this.machines = Array.from(
      { length: plan.brokers },
      (_, index) => new NodeMachine(`b${index + 1}`, this, program),
    );
  }

  start(): void {
    for (const machine of this.machines) machine.start();
  }

  machine(nodeId: string): NodeMachine<P> {
    return this.machines.find((machine) => machine.nodeId === nodeId)!;
  }

  get starts(): number {
    return this.machines.reduce((sum, { starts }) => sum + starts, 0);
  }
}
