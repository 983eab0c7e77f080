// Owns the machine a broker runs on: its disk, its metadata store, and one process after another.
// Refuses to decide when it fails (faults.ts) and what clients do with it.
// Invariant: at most one broker serves; whatever a process does reaches the machine through its own incarnation only.
import { crc32c } from "@node-rs/crc32";
import { DEFAULT_GROUP_SETTINGS } from "../../actors/group/settings.ts";
import { LocalBroker } from "../../actors/local_broker.ts";
import type { Broker } from "../../actors/broker.ts";
import type { RuntimeEvent } from "../../actors/runtime/reports.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { MasterKeys } from "../../storage/encryption/master_keys.ts";
import { masterKeys } from "../support/simulated_logs.ts";
import { FileLogStore } from "../../storage/file_log/file_log_store.ts";
import { FileSnapshotStore } from "../../storage/file_log/file_snapshots.ts";
import { MemoryMetadataStore } from "../../storage/memory/memory_metadata.ts";
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Log } from "../../storage/log.ts";
import { SimulatedDisk } from "../support/simulated_disk.ts";
import { ConnectionLost, Incarnation } from "./incarnation.ts";
import { LogTap } from "./log_tap.ts";
import type { Mutant } from "./mutants/mutant.ts";
import { type DiskConditions, TimedDisk } from "./timed_disk.ts";
import { TimedMetadata } from "./timed_metadata.ts";
import { describeError, type World } from "./world.ts";

/** A process that could not start is started again after this. */
const RESTART_AFTER_FAILURE_MS = 1_000;
/** A clean shutdown that takes longer is ended by force. */
const CLOSE_LIMIT_MS = 90_000;

export const GROUP_SETTINGS = DEFAULT_GROUP_SETTINGS;

interface PendingCall {
  readonly who: string;
  readonly sinceMs: number;
}

export class Machine {
  readonly disk: SimulatedDisk;
  readonly conditions: DiskConditions = {
    crashPoint: null,
    slowSync: null,
    failingSyncs: 0,
    slowUntilMs: new Map(),
    onSyncFailed: () => undefined,
  };
  readonly tap = new LogTap();
  /** The most that the wall clock was ahead of the truth when any process started: what its trust in it rests on. */
  worstStartErrorMs = 0;
  /** What outlives every process; a mutant may wrap it. */
  metadata: MetadataStore;
  /** Calls to it are answered with an error, whether they take effect or not. */
  metadataFails = false;
  #wallErrorMs = 0;
  #life: Incarnation | null = null;
  #served:
    | { readonly life: Incarnation; readonly broker: Broker; readonly local: LocalBroker }
    | null = null;
  #starts = 0;
  #restart = Promise.withResolvers<void>();
  readonly #calls = new Set<PendingCall>();
  readonly #onStarted: (() => void)[] = [];
  readonly #onEnded: (() => void)[] = [];

  /** They outlive every process: a nonce must not come twice. */
  readonly #masterKeys: MasterKeys;

  constructor(readonly world: World, readonly mutant: Mutant | null) {
    this.disk = new SimulatedDisk({ seed: world.chance.integer(2 ** 32) });
    const { time, chance: randomness } = world;
    this.metadata = new MemoryMetadataStore({ timers: time, randomness });
    this.#masterKeys = masterKeys(undefined, world.seed);
    if (mutant?.machine !== undefined) mutant.machine(this);
  }

  /** The broker that serves now, null while none does. */
  get broker(): Broker | null {
    return this.#served?.broker ?? null;
  }

  /** Number of the process that serves or starts, 0 before the first. */
  get starts(): number {
    return this.#starts;
  }

  /** See LedgerSource. */
  readonly mayBeBehind = false;

  /** See LedgerSource. */
  logOf(topicId: string, partition: number): Log | null {
    return this.tap.of(topicId, partition);
  }

  onStarted(listener: () => void): void {
    this.#onStarted.push(listener);
  }

  /** Hears the end of every process, however it came. */
  onEnded(listener: () => void): void {
    this.#onEnded.push(listener);
  }

  jumpWall(byMs: number): void {
    this.#wallErrorMs += byMs;
    this.world.time.jumpWall(byMs);
  }

  /** Calls of clients that have waited for longer than `ms`. */
  overdue(ms: number): readonly PendingCall[] {
    const before = this.world.time.monotonic() - ms;
    return [...this.#calls].filter(({ sinceMs }) => sinceMs < before);
  }

  /**
   * One call of a client. Rejects with ConnectionLost when there is no broker, or its process ends before it answers;
   * else as the broker does. An answer that no broker may give is a violation.
   */
  async ask<T>(who: string, run: (broker: Broker) => Promise<T>): Promise<T> {
    const served = this.#served;
    if (served === null) throw new ConnectionLost("there is no broker");
    const call = { who, sinceMs: this.world.time.monotonic() };
    this.#calls.add(call);
    try {
      return await served.life.answer(run(served.broker));
    } catch (error) {
      const isAnswer = error instanceof ConnectionLost ||
        (error instanceof BrokerError && error.code !== "INTERNAL");
      if (!isAnswer) this.world.violation(`${who} was answered ${describeError(error)}`);
      throw error;
    } finally {
      this.#calls.delete(call);
    }
  }

  /** Starts processes until the world ends. */
  async run(): Promise<void> {
    while (this.world.phase !== "ended") {
      const life = this.#boot();
      try {
        await life.answer(this.#open(life));
        await life.answer(NEVER);
      } catch (error) {
        if (!(error instanceof ConnectionLost)) {
          this.world.note(
            "machine",
            `process ${life.number} cannot start: ${describeError(error)}`,
          );
          this.kill(RESTART_AFTER_FAILURE_MS);
        }
      }
      await this.#restart.promise;
    }
  }

  /** kill -9: what the process has written is still there, synced or not. */
  kill(restartAfterMs = 0): void {
    if (this.#life === null) return;
    this.world.note("machine", `process ${this.#life.number} is killed`);
    this.disk.killProcess();
    this.#end(restartAfterMs);
  }

  /** What was not synced is kept, lost, torn or garbled. */
  cutPower(restartAfterMs = 0): void {
    if (this.#life === null) return;
    this.world.note("machine", "the power is cut");
    this.disk.crash("random");
    this.#end(restartAfterMs);
    this.mutant?.onPowerCut?.(this);
  }

  /** Shuts the broker down as SIGTERM does; resolves when the process has ended. */
  async close(restartAfterMs = 0): Promise<void> {
    const served = this.#served;
    if (served === null) return;
    this.world.note("machine", `process ${served.life.number} shuts down`);
    const limit = this.world.sleep(CLOSE_LIMIT_MS).then(() => "late" as const);
    try {
      const how = await served.life.answer(Promise.race([served.local.close(), limit]));
      if (how === "late") this.world.violation(`shutting down took over ${CLOSE_LIMIT_MS} ms`);
    } catch (error) {
      this.world.note("machine", `shutting down: ${describeError(error)}`);
    }
    if (this.#life !== served.life) return;
    const { pendingWork } = served.life;
    if (pendingWork > 0) {
      this.world.violation(`${pendingWork} timers or writes are left after shutting down`);
    }
    this.disk.killProcess();
    this.#end(restartAfterMs);
  }

  #boot(): Incarnation {
    this.#restart = Promise.withResolvers();
    this.#starts++;
    this.worstStartErrorMs = Math.max(this.worstStartErrorMs, this.#wallErrorMs);
    this.#life = new Incarnation(this.world, this.#starts);
    this.world.note("machine", `process ${this.#starts} starts`);
    return this.#life;
  }

  async #open(life: Incarnation): Promise<void> {
    const { world, mutant } = this;
    const { plan, chance: randomness } = world;
    const clock = mutant?.clock?.(life) ?? life;
    const timed = new TimedDisk(world, life, this);
    const disk = mutant?.disk?.(timed) ?? timed;
    const files = new FileLogStore({
      disk,
      clock,
      crc32c,
      tailCacheBytes: plan.tailCacheBytes,
      checkpointBytes: plan.checkpointBytes,
      masterKeys: this.#masterKeys,
      onWarning: ({ log, message, error }) =>
        world.note("log", `${log}: ${message} ${error === undefined ? "" : describeError(error)}`),
    });
    const tapped = this.tap.over(files);
    const snapshots = new FileSnapshotStore("snapshots", { disk, crc32c });
    const local = await LocalBroker.open({
      nodeId: "1",
      maxPendingPublishBytes: mutant?.maxPendingPublishBytes ?? plan.maxPendingPublishBytes,
      retentionIntervalMs: plan.retentionIntervalMs,
      groupsPartitions: 2,
      encryptInternalTopics: plan.isEncrypted,
      group: GROUP_SETTINGS,
    }, {
      metadata: new TimedMetadata(world, life, this),
      logs: mutant?.logs?.(tapped) ?? tapped,
      snapshots: mutant?.snapshots?.(snapshots) ?? snapshots,
      clock,
      timers: life,
      randomness,
      crc32c,
      runtimeLog: { report: (event) => this.#runtimeSaid(event) },
      report: ({ level, message, error }) =>
        world.note(
          "broker",
          `${level} ${message}${error === undefined ? "" : `: ${describeError(error)}`}`,
        ),
    });
    const broker = mutant?.broker?.(local, this) ?? local;
    this.#served = { life, broker, local };
    world.note("machine", `process ${life.number} serves`);
    for (const listener of this.#onStarted) listener();
  }

  #end(restartAfterMs: number): void {
    this.conditions.crashPoint = null;
    this.#life?.end();
    this.#life = null;
    this.#served = null;
    this.#calls.clear();
    for (const listener of this.#onEnded) listener();
    this.world.time.after(restartAfterMs, this.#restart.resolve);
  }

  #runtimeSaid(event: RuntimeEvent): void {
    const { type, ...details } = event;
    const shown = Object.entries(details)
      .map(([name, value]) => `${name}=${name === "error" ? describeError(value) : value}`);
    this.world.note("runtime", `${type} ${shown.join(" ")}`);
    if (type === "actor.down" || type === "effect.failed") {
      this.world.violation(`${type} ${shown.join(" ")}`);
    }
  }
}

const NEVER = new Promise<never>(() => {});
