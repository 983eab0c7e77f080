// Owns how long the disk takes for one process, and the moments at which its machine stops amid disk operations.
// Refuses to own what survives (support/simulated_disk.ts).
// Invariant: a sync covers what was written before it was called, and nothing is durable before it has ended.
import type { Disk, DiskFile } from "../../storage/ports.ts";
import type { DiskOperation, SimulatedDisk } from "../support/simulated_disk.ts";
import type { Incarnation } from "./incarnation.ts";
import { describeError, type RunWorld } from "./world.ts";

/** Stops the machine, or kills the process, at the `countdown`-th matching operation, before or after it is done. */
export interface CrashPoint {
  readonly operation: DiskOperation | null;
  readonly moment: "before" | "after";
  countdown: number;
  readonly crash: () => void;
}

/** What the world does to the disk right now; lives as long as the machine. */
export interface DiskConditions {
  crashPoint: CrashPoint | null;
  /** Syncs of matching files take this long. */
  slowSync: { readonly path: RegExp; readonly ms: number } | null;
  /** Syncs of files that fail from now on. */
  failingSyncs: number;
  /** By partition number, as it stands in paths: until when, in virtual ms, a slow sync may hold it up. */
  readonly slowUntilMs: Map<string, number>;
  /** Hears of each sync that has failed. */
  onSyncFailed: () => void;
}

const INDEX_FILE = /index(\.tmp)?( |$)/;
/** What is read is mostly in the page cache. */
const READS_ARE_FASTER = 4;

export class TimedDisk implements Disk {
  constructor(
    private readonly world: RunWorld,
    private readonly life: Incarnation,
    private readonly below: { disk: SimulatedDisk; conditions: DiskConditions },
  ) {}

  async open(path: string, options: { create: boolean }): Promise<DiskFile> {
    const operation = options.create ? "create" : "open";
    const file = await this.#run(operation, path, () => this.below.disk.open(path, options));
    return this.#timed(path, file);
  }

  list(directory: string): Promise<string[]> {
    return this.#run("read", directory, () => this.below.disk.list(directory));
  }

  makeDirectory(directory: string): Promise<void> {
    return this.#run("makeDirectory", directory, () => this.below.disk.makeDirectory(directory));
  }

  remove(path: string): Promise<void> {
    return this.#run("remove", path, () => this.below.disk.remove(path));
  }

  removeTree(directory: string): Promise<void> {
    return this.#run("remove", directory, () => this.below.disk.removeTree(directory));
  }

  removeEmpty(directory: string): Promise<void> {
    return this.#run("remove", directory, () => this.below.disk.removeEmpty(directory));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run("rename", from, () => this.below.disk.rename(from, to));
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#run("syncDirectory", directory, () => this.below.disk.syncDirectory(directory));
  }

  #timed(path: string, file: DiskFile): DiskFile {
    return {
      read: (into, position) => this.#run("read", path, () => file.read(into, position)),
      write: (bytes, position) =>
        this.#run(
          "write",
          `${path} ${bytes.length}@${position}`,
          () => file.write(bytes, position),
        ),
      truncate: (size) => this.#run("truncate", `${path} ${size}`, () => file.truncate(size)),
      size: () => this.#run("read", path, () => file.size()),
      close: () => this.life.port(0, () => file.close(), { isRead: true }),
      sync: () => this.#sync(path, file),
    };
  }

  async #run<T>(operation: DiskOperation, what: string, work: () => Promise<T>): Promise<T> {
    const isRead = operation === "read" || operation === "open";
    const { maxDiskMs } = this.world.plan;
    const delayMs = this.world.between(0, isRead ? maxDiskMs / READS_ARE_FASTER : maxDiskMs);
    // A reader that finds no index makes one anew, and nobody waits for readers when a log is closed.
    const isForReaders = isRead || INDEX_FILE.test(what);
    const perform = () => this.#perform(operation, what, work);
    return await this.life.port(delayMs, perform, { isRead: isForReaders });
  }

  /** Begun at once, so that it covers what was written until now, and ended when the disk is done. */
  async #sync(path: string, file: DiskFile): Promise<void> {
    const { disk, conditions } = this.below;
    const { slowSync } = conditions;
    if (!this.life.isAlive) return await this.life.port(0, () => Promise.resolve());
    if (conditions.failingSyncs > 0) {
      conditions.failingSyncs--;
      disk.failOnce("sync", exactly(path));
    }
    const release = disk.holdSyncs();
    const synced = file.sync();
    synced.catch(() => conditions.onSyncFailed());
    const slow = slowSync !== null && slowSync.path.test(path);
    const delayMs = slow ? slowSync.ms : this.world.between(0, this.world.plan.maxSyncMs);
    if (slow) {
      const partition = path.split("/").at(-2)!;
      conditions.slowUntilMs.set(partition, this.world.time.monotonic() + delayMs);
    }
    await this.life.port(delayMs, () =>
      this.#perform("sync", slow ? `${path} slow` : path, () => {
        release();
        return synced;
      }));
  }

  async #perform<T>(
    operation: DiskOperation,
    what: string,
    work: () => Promise<T>,
  ): Promise<T> {
    if (this.#crashesAt(operation, "before")) return await NEVER;
    try {
      const result = await work();
      if (operation !== "read" && operation !== "open") {
        this.world.note("disk", `${operation} ${what}`);
      }
      if (this.#crashesAt(operation, "after")) return await NEVER;
      return result;
    } catch (error) {
      if (this.life.isAlive) {
        this.world.note("disk", `${operation} ${what}: ${describeError(error)}`);
      }
      throw error;
    }
  }

  #crashesAt(operation: DiskOperation, moment: CrashPoint["moment"]): boolean {
    const point = this.below.conditions.crashPoint;
    if (point === null || !this.life.isAlive || point.moment !== moment) return false;
    if (point.operation !== null && point.operation !== operation) return false;
    if (--point.countdown > 0) return false;
    this.below.conditions.crashPoint = null;
    point.crash();
    return true;
  }
}

const NEVER = new Promise<never>(() => {});

function exactly(path: string): RegExp {
  return new RegExp(`^${path.replaceAll(/[.+*?^$()[\]{}|\\]/g, "\\$&")}$`);
}
