// Owns one machine of a simulated cluster: its disk, its clock, and one process after another.
// Refuses to decide when it fails (faults.ts) and what its process does (a NodeProgram).
// Invariant: at most one process runs; whatever it does reaches the world through its own life only.
import type { Peers } from "../../../actors/cluster/peers.ts";
import { BrokerError } from "../../../storage/broker_error.ts";
import type { LogStore } from "../../../storage/log.ts";
import { MemorySnapshotStore } from "../../../storage/memory/memory_snapshots.ts";
import type { MetadataStore } from "../../../storage/metadata.ts";
import type { SnapshotStore } from "../../../storage/snapshots.ts";
import { ConnectionLost } from "../incarnation.ts";
import { describeError, type RunWorld } from "../world.ts";
import type { MetadataService } from "./metadata_service.ts";
import type { SimulatedNetwork } from "./network.ts";
import { type ClockFault, NodeLife } from "./node_life.ts";
import { type LogConditions, SimulatedLogs } from "./simulated_log.ts";

/** A process that could not start, or failed, is started again after this. */
const RESTART_AFTER_FAILURE_MS = 1_000;
/** A clean shutdown that takes longer is ended by force. */
const CLOSE_LIMIT_MS = 60_000;
const DAY_MS = 86_400_000;
/** Clocks drift by up to so many 1,024ths. */
const MAX_DRIFT = 5;

/** What a process is given to run with. */
export interface NodePorts {
  readonly nodeId: string;
  readonly zone: string | null;
  readonly diskId: string;
  /** Its clock and timers. */
  readonly life: NodeLife;
  readonly metadata: MetadataStore;
  readonly logs: LogStore;
  readonly snapshots: SnapshotStore;
  /** To be asked for once. */
  connect(incarnation: () => number): Peers;
}

/** A process that serves. */
export interface NodeProcess {
  close(): Promise<void>;
}

/** Starts a process; its promise resolves when it serves. */
export type NodeProgram<P extends NodeProcess> = (ports: NodePorts) => Promise<P>;

export interface Surroundings {
  readonly world: RunWorld;
  readonly network: SimulatedNetwork;
  readonly metadata: MetadataService;
}

export class NodeMachine<P extends NodeProcess = NodeProcess> {
  readonly conditions: LogConditions = { slowSync: null, failingSyncs: 0 };
  readonly logs: SimulatedLogs;
  readonly #clock: ClockFault;
  #snapshots = new MemorySnapshotStore();
  #diskId: string;
  #life: NodeLife | null = null;
  #process: P | null = null;
  #starts = 0;
  #wipes = 0;

  constructor(
    readonly nodeId: string,
    private readonly around: Surroundings,
    private readonly program: NodeProgram<P>,
  ) {
    const { world } = around;
    this.logs = new SimulatedLogs(world, this.conditions);
    this.#diskId = `${nodeId}-disk0`;
    const drift = world.integer(-MAX_DRIFT, MAX_DRIFT);
    this.#clock = { wallErrorMs: world.integer(-DAY_MS, DAY_MS), rate: 1 + drift / 1_024 };
  }

  /** What serves there now, null while nothing does. */
  get process(): P | null {
    return this.#process;
  }

  get life(): NodeLife | null {
    return this.#life;
  }

  get isPaused(): boolean {
    return this.#life?.isPaused === true;
  }

  get starts(): number {
    return this.#starts;
  }

  get wipes(): number {
    return this.#wipes;
  }

  start(): void {
    const { world } = this.around;
    if (this.#life !== null || world.phase === "ended") return;
    this.#starts++;
    const life = this.#life = new NodeLife(world, this.#starts, this.#clock);
    world.note(this.nodeId, `process ${this.#starts} starts`);
    this.program(this.#ports(life)).then(
      (process) => {
        if (!life.isAlive) return;
        this.#process = process;
        world.note(this.nodeId, `process ${life.number} serves`);
      },
      (error) => this.#failed(life, error),
    );
  }

  jumpWall(byMs: number): void {
    this.#clock.wallErrorMs += byMs;
  }

  /** kill -9: what the process has written is still there, synced or not. */
  kill(restartAfterMs: number): void {
    if (this.#life === null) return;
    this.around.world.note(this.nodeId, "is killed");
    this.logs.killProcess();
    this.#end(restartAfterMs);
  }

  /** Of what was not synced, some is gone. */
  cutPower(restartAfterMs: number): void {
    if (this.#life === null) return;
    this.around.world.note(this.nodeId, "loses its power");
    this.logs.cutPower();
    this.#end(restartAfterMs);
  }

  /** The machine comes back with an empty disk. */
  wipe(restartAfterMs: number): void {
    if (this.#life === null) return;
    this.around.world.note(this.nodeId, "loses its disk");
    this.#wipes++;
    this.#diskId = `${this.nodeId}-disk${this.#wipes}`;
    this.logs.wipe();
    this.#snapshots = new MemorySnapshotStore();
    this.#end(restartAfterMs);
  }

  pause(ms: number): void {
    const life = this.#life;
    if (life === null || life.isPaused) return;
    this.around.world.note(this.nodeId, `is paused for ${ms.toFixed()} ms`);
    life.pause();
    this.around.world.time.after(ms, () => {
      if (!life.isPaused) return;
      if (life.isAlive) this.around.world.note(this.nodeId, "goes on");
      life.resume();
    });
  }

  resume(): void {
    this.#life?.resume();
  }

  /** Shuts down as SIGTERM does; resolves when the process has ended. */
  async close(restartAfterMs: number): Promise<void> {
    const [life, process] = [this.#life, this.#process];
    if (life === null || process === null || life.isPaused) return;
    const { world } = this.around;
    world.note(this.nodeId, "shuts down");
    const limit = world.sleep(CLOSE_LIMIT_MS).then(() => "late" as const);
    try {
      const how = await life.answer(Promise.race([process.close(), limit]));
      if (how === "late") world.violation(`${this.nodeId} took over ${CLOSE_LIMIT_MS} ms to end`);
    } catch (error) {
      if (!(error instanceof ConnectionLost || error instanceof BrokerError)) {
        world.violation(`${this.nodeId} shuts down with ${describeError(error)}`);
      }
    }
    if (this.#life !== life) return;
    this.logs.killProcess();
    this.#end(restartAfterMs);
  }

  #ports(life: NodeLife): NodePorts {
    const { nodeId, around: { metadata, network } } = this;
    return {
      nodeId,
      zone: null,
      diskId: this.#diskId,
      life,
      metadata: metadata.connect(nodeId, life),
      logs: this.logs.session(life),
      snapshots: this.#snapshots,
      connect: (incarnation) => network.connect(nodeId, life, incarnation),
    };
  }

  /** A start may fail for want of the metadata store, or of the disk; for nothing else. */
  #failed(life: NodeLife, error: unknown): void {
    const { world } = this.around;
    if (!life.isAlive) return;
    world.note(this.nodeId, `process ${life.number} cannot start: ${describeError(error)}`);
    if (!(error instanceof BrokerError) || error.code === "INTERNAL") {
      world.violation(`${this.nodeId} cannot start: ${describeError(error)}`);
    }
    this.kill(RESTART_AFTER_FAILURE_MS);
  }

  #end(restartAfterMs: number): void {
    this.#process = null;
    this.#life?.end();
    this.#life = null;
    this.around.world.time.after(restartAfterMs, () => this.start());
  }
}
