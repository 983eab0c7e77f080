// Owns simulated machines whose logs are archived, in a store in memory that can be made to fail.
// Refuses to own the archive adapters: they have tests of their own.
// Invariant: the archive outlives every crash of the machine, as another machine does.
import { crc32c } from "@node-rs/crc32";
import type { ArchivedObject, ArchiveStore } from "../../storage/archive.ts";
import { ArchivedLogStore } from "../../storage/archive/archived_log_store.ts";
import type { Log, LogConfig } from "../../storage/log.ts";
import { CONFIG, LOG, SimulatedMachine } from "./simulated_logs.ts";

/** Objects in memory. */
export class MemoryArchive implements ArchiveStore {
  readonly objects = new Map<string, Uint8Array>();
  readonly calls: string[] = [];
  /** Calls that match it reject. */
  failing: RegExp | null = null;
  /** Calls that match it never settle. */
  hanging: RegExp | null = null;

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#enter(`put ${key}`);
    this.objects.set(key, bytes.slice());
  }

  async get(key: string): Promise<Uint8Array | null> {
    await this.#enter(`get ${key}`);
    return this.objects.get(key)?.slice() ?? null;
  }

  async remove(key: string): Promise<void> {
    await this.#enter(`remove ${key}`);
    this.objects.delete(key);
  }

  async list(prefix: string): Promise<readonly ArchivedObject[]> {
    await this.#enter(`list ${prefix}`);
    return [...this.objects].filter(([key]) => key.startsWith(prefix))
      .map(([key, bytes]) => ({ key, sizeBytes: bytes.length }))
      .sort((a, b) => a.key < b.key ? -1 : 1);
  }

  async #enter(call: string): Promise<void> {
    this.calls.push(call);
    await Promise.resolve();
    if (this.hanging?.test(call)) await new Promise(() => {});
    if (this.failing?.test(call)) throw new Error(`the archive is down: ${call}`);
  }
}

export interface ArchivedMachineOptions {
  readonly seed?: number;
  readonly maxObjectBytes?: number;
  readonly cacheBytes?: number;
}

export class ArchivedMachine {
  readonly machine: SimulatedMachine;
  readonly archive = new MemoryArchive();

  constructor(private readonly options: ArchivedMachineOptions = {}) {
    this.machine = new SimulatedMachine({ seed: options.seed ?? 1 });
  }

  /** `archive`: another one than the machine's, null for none. */
  store(archive: ArchiveStore | null = this.archive): ArchivedLogStore {
    const { machine, options } = this;
    return new ArchivedLogStore({
      logs: machine.store({ checkpointBytes: 500 }),
      archive,
      disk: machine.disk.session(),
      clock: machine.clock,
      timers: machine.clock,
      crc32c,
      maxObjectBytes: options.maxObjectBytes ?? 250,
      cacheBytes: options.cacheBytes ?? 0,
      onWarning: (warning) => void machine.warnings.push(warning),
    });
  }

  open(config: Partial<LogConfig> = {}): Promise<Log> {
    return this.store().open(LOG, { ...CONFIG, segmentBytes: 350, ...config });
  }
}
