// Owns when which fault strikes which part of a cluster, and that all of them end.
// Refuses to own what a fault does (node_machine.ts, network.ts, metadata_service.ts, simulated_log.ts).
// Invariant: after `heal` nothing more is wrong, and every broker runs or starts. At most one disk is lost in a run.
import type { Counts } from "./counts.ts";
import type { MetadataService } from "./metadata_service.ts";
import type { SimulatedNetwork } from "./network.ts";
import type { NodeMachine } from "./node_machine.ts";
import type { ClusterFault, ClusterPlan } from "./plan.ts";
import type { RunWorld } from "../world.ts";

const DAY_MS = 86_400_000;
const MAX_DOWN_MS = 12_000;
const MAX_PAUSE_MS = 15_000;
const MAX_CUT_MS = 15_000;
const MAX_WEATHER_MS = 5_000;
const MAX_SLOW_MESSAGE_MS = 3_000;

export interface FaultyCluster {
  readonly world: RunWorld<ClusterPlan>;
  readonly machines: readonly NodeMachine[];
  readonly network: SimulatedNetwork;
  readonly metadata: MetadataService;
  readonly counts: Counts;
}

export class ClusterFaults {
  #wiped = false;
  readonly #unlucky: NodeMachine;

  constructor(private readonly cluster: FaultyCluster) {
    this.#unlucky = cluster.world.chance.pick(cluster.machines);
  }

  async run(): Promise<void> {
    const { world } = this.cluster;
    const { faults, faultEveryMs } = world.plan;
    while (world.phase === "faults") {
      await world.sleep(world.between(0, 2 * faultEveryMs));
      if (world.phase === "faults") this.#strike(world.chance.pick(faults));
    }
  }

  heal(): void {
    const { world, machines, network, metadata } = this.cluster;
    world.note("faults", "all is healed");
    network.mend();
    Object.assign(network.weather, { slowOneIn: 0, resetOneIn: 0, repeatOneIn: 0 });
    metadata.lossOneIn = 0;
    for (const machine of machines) {
      metadata.mend(machine.nodeId);
      machine.conditions.slowSync = null;
      machine.conditions.failingSyncs = 0;
      machine.resume();
    }
  }

  #strike(kind: ClusterFault): void {
    const { world, machines, counts } = this.cluster;
    const machine = this.#isOfDisks(kind) ? this.#unlucky : world.chance.pick(machines);
    if (kind === "wipe" && this.#wiped) return;
    counts.add(kind);
    switch (kind) {
      case "kill":
        return machine.kill(this.#downMs());
      case "powerCut":
        return this.#cutPower(machine);
      case "restart":
        return world.start(machine.nodeId, () => machine.close(this.#downMs()));
      case "pause":
        return machine.pause(world.between(100, MAX_PAUSE_MS));
      case "wipe":
        this.#wiped = true;
        return machine.wipe(this.#downMs());
      case "failedSync":
        world.note("faults", `a sync of ${machine.nodeId} will fail`);
        machine.conditions.failingSyncs++;
        return;
      case "slowSync":
        return this.#slowSyncs(machine);
      case "wallJump":
        world.note("faults", `the wall clock of ${machine.nodeId} jumps`);
        return machine.jumpWall(world.chance.pick([-DAY_MS, DAY_MS]));
      default:
        return this.#strikeBetween(kind, machine);
    }
  }

  /** Where a disk is lost, only that disk lies: two copies are all that an acknowledgement promises. */
  #isOfDisks(kind: ClusterFault): boolean {
    const { faults } = this.cluster.world.plan;
    return kind === "wipe" || (kind === "failedSync" && faults.includes("wipe"));
  }

  #strikeBetween(kind: ClusterFault, machine: NodeMachine): void {
    const { network, metadata, machines } = this.cluster;
    const { nodeId } = machine;
    const others = machines.filter((other) => other !== machine).map((other) => other.nodeId);
    const other = this.cluster.world.chance.pick(others);
    switch (kind) {
      case "cut":
        return this.#cut(`${nodeId} and ${other}`, [[nodeId, other], [other, nodeId]]);
      case "cutOneWay":
        return this.#cut(`${nodeId} to ${other}`, [[nodeId, other]]);
      case "isolate": {
        const ways = others.flatMap((to) => [[nodeId, to], [to, nodeId]] as [string, string][]);
        return this.#cut(`${nodeId} and all others`, ways);
      }
      case "metadataCut":
        metadata.cut(nodeId);
        return this.#for(
          `${nodeId} is cut from the metadata store`,
          MAX_CUT_MS,
          () => metadata.mend(nodeId),
        );
      case "metadataOutage":
        for (const each of machines) metadata.cut(each.nodeId);
        return this.#for("the metadata store is down", MAX_CUT_MS, () => {
          for (const each of machines) metadata.mend(each.nodeId);
        });
      case "metadataLoss":
        metadata.lossOneIn = 4;
        return this.#for(
          "the metadata store loses answers",
          MAX_WEATHER_MS,
          () => metadata.lossOneIn = 0,
        );
      case "connectionResets":
        network.weather.resetOneIn = 5;
        return this.#for(
          "connections are reset",
          MAX_WEATHER_MS,
          () => network.weather.resetOneIn = 0,
        );
      default:
        Object.assign(network.weather, { slowOneIn: 10, slowMs: MAX_SLOW_MESSAGE_MS });
        return this.#for("messages are slow", MAX_WEATHER_MS, () => network.weather.slowOneIn = 0);
    }
  }

  #downMs(): number {
    return this.cluster.world.between(0, MAX_DOWN_MS);
  }

  /** Of one machine, or of the whole house. */
  #cutPower(machine: NodeMachine): void {
    const { world, machines } = this.cluster;
    const struck = world.oneIn(4) ? machines : [machine];
    for (const each of struck) each.cutPower(this.#downMs());
  }

  #slowSyncs(machine: NodeMachine): void {
    const { world } = this.cluster;
    const ms = world.between(500, 5_000);
    const slow = machine.conditions.slowSync = { path: /./, ms };
    this.#for(`syncs of ${machine.nodeId} take ${ms.toFixed()} ms`, ms, () => {
      if (machine.conditions.slowSync === slow) machine.conditions.slowSync = null;
    });
  }

  #cut(what: string, ways: readonly (readonly [string, string])[]): void {
    const { network } = this.cluster;
    for (const [from, to] of ways) network.cut(from, to);
    this.#for(`${what} are cut`, MAX_CUT_MS, () => {
      for (const [from, to] of ways) network.mend(from, to);
    });
  }

  /** Says what begins, and ends it after a while, unless all was healed meanwhile. */
  #for(what: string, mostMs: number, end: () => void): void {
    const { world } = this.cluster;
    const ms = world.between(mostMs / 10, mostMs);
    world.note("faults", `${what} for ${ms.toFixed()} ms`);
    world.time.after(ms, () => {
      if (world.phase !== "faults") return;
      world.note("faults", `no longer: ${what}`);
      end();
    });
  }
}
