// Owns a broker's process that takes part in decisions alone: it registers, campaigns, and as a leader raises epochs and
// changes who is in sync, by chance and within the rules.
// Refuses to own logs and messages: it holds none. Invariant: as a leader it never lets anybody join who is not there.
import { ClusterController } from "../../../actors/cluster/controller.ts";
import { inSyncChange } from "../../../actors/cluster/decide_election.ts";
import type { KeptPartition } from "../../../actors/cluster/types.ts";
import { ClusterMetadata } from "../../../actors/cluster/view.ts";
import { BrokerError } from "../../../storage/broker_error.ts";
import { describeError, type RunWorld } from "../world.ts";
import type { NodePorts } from "./node_machine.ts";
import type { ClusterPlan } from "./plan.ts";
import type { Leadership, LeadingProcess } from "./replica_watch.ts";

const CHORE_EVERY_MS = 400;
export const MIN_INSYNC = 2;

export class DecisionProcess implements LeadingProcess {
  /** By partition, the epoch in which it was led by this broker when the process began: another process's. */
  readonly #inherited = new Map<string, number>();

  private constructor(
    private readonly world: RunWorld<ClusterPlan>,
    private readonly ports: NodePorts,
    readonly cluster: ClusterMetadata,
    private readonly controller: ClusterController,
  ) {}

  static async open(world: RunWorld<ClusterPlan>, ports: NodePorts): Promise<DecisionProcess> {
    const { nodeId, metadata, zone, diskId, life } = ports;
    ports.connect(() => 0);
    const common = { metadata, clock: life, timers: life };
    const cluster = await ClusterMetadata.open({ ...common, nodeId });
    const host = `${nodeId}.test`;
    const [port, peerPort] = [9092, 9093];
    const at = { host, port, peerHost: host, peerPort };
    await cluster.register({ ...at, zone, version: "1", diskId });
    const controller = await ClusterController.open({
      ...common,
      cluster,
      report: (notice) => {
        if (notice.type === "partition.changed") return;
        const why = notice.type === "controller.failed" ? `: ${describeError(notice.error)}` : "";
        world.note(nodeId, `${notice.type}${why}`);
      },
    });
    const process = new DecisionProcess(world, ports, cluster, controller);
    process.#begin();
    return process;
  }

  async close(): Promise<void> {
    await this.cluster.leave();
    await this.controller.close();
    await this.cluster.close();
  }

  *leaderships(): Iterable<Leadership> {
    const { nodeId } = this.ports;
    for (const { record } of this.cluster.partitions()) {
      const { topicId, partition, leader, leaderEpoch, isr } = record;
      if (leader !== nodeId || leaderEpoch <= this.#inheritedEpoch(record)) continue;
      yield { topicId, partition, leaderEpoch, highWatermark: 0, inSync: isr };
    }
  }

  /** It says that data are lost here: together with a disk that is lost elsewhere that would be more than may happen. */
  private get mayResign(): boolean {
    return !this.world.plan.faults.includes("wipe");
  }

  #inheritedEpoch({ topicId, partition }: { topicId: string; partition: number }): number {
    return this.#inherited.get(`${topicId}/${partition}`) ?? 0;
  }

  #begin(): void {
    for (const { record: { topicId, partition, leaderEpoch } } of this.cluster.partitions()) {
      this.#inherited.set(`${topicId}/${partition}`, leaderEpoch);
    }
    this.#choreLater();
  }

  #choreLater(): void {
    const { life } = this.ports;
    life.after(this.world.between(0, 2 * CHORE_EVERY_MS), () => {
      this.#chore().catch((error) => {
        if (error instanceof BrokerError && error.code === "METADATA_UNAVAILABLE") return;
        this.world.violation(`a leader's change fails: ${describeError(error)}`);
      }).finally(() => this.#choreLater());
    });
  }

  async #chore(): Promise<void> {
    const { world, cluster, ports: { nodeId } } = this;
    const led = [...cluster.partitions()].filter(({ record }) => record.leader === nodeId);
    if (led.length === 0 || !cluster.hasLease) return;
    const isCalm = world.phase !== "faults";
    for (const kept of isCalm ? led : [world.chance.pick(led)]) {
      if (kept.record.leaderEpoch <= this.#inheritedEpoch(kept.record)) {
        await cluster.raiseLeaderEpoch(kept);
      } else if (isCalm || world.oneIn(2)) await this.#let(kept, "join");
      else if (world.oneIn(10) && this.mayResign) await cluster.resign(kept);
      else await this.#let(kept, "leave");
    }
  }

  async #let(kept: KeptPartition, what: "join" | "leave"): Promise<void> {
    const { cluster, world, ports: { nodeId } } = this;
    const { record } = kept;
    const able = what === "join"
      ? record.replicas.filter((id) => !record.isr.includes(id) && cluster.online().has(id))
      : record.isr.filter((id) => id !== nodeId);
    if (able.length === 0) return;
    const member = world.chance.pick(able);
    const isr = what === "join"
      ? [...record.isr, member]
      : record.isr.filter((id) => id !== member);
    await cluster.changeInSync(kept, inSyncChange(record, isr, MIN_INSYNC));
  }
}
