// Owns logs in memory under which the process dies at a chosen append, before it is kept or just after, or the append fails.
// Refuses to own what a new process then finds (the memory logs keep what was flushed).
// Invariant: nothing that the dead process asked for settles any more, so it learns nothing and does nothing.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Log, LogConfig, LogStore } from "../../storage/log.ts";
import { MemoryLogStore } from "../../storage/memory/memory_log.ts";
import type { Clock } from "../../storage/ports.ts";
import type { AppendFault } from "./faulty_logs.ts";

const NEVER = new Promise<never>(() => {});

export class MortalLogStore implements LogStore {
  readonly #below: MemoryLogStore;
  #life = 0;
  #died = Promise.withResolvers<void>();
  /** Appends of all logs since the start. */
  appends = 0;
  /** Count of appends at which the process dies; null lives on. */
  diesAt: number | null = null;
  /** Whether that append is kept. */
  keeps = false;
  /** Count of appends at which one fails, and how; the process lives on. */
  failsAt: number | null = null;
  failure: AppendFault = "STORAGE_FAILED";

  constructor(clock: Clock) {
    this.#below = new MemoryLogStore(clock);
  }

  /** Resolves when this life has ended. */
  get died(): Promise<void> {
    return this.#died.promise;
  }

  async open(name: string, config: LogConfig): Promise<Log> {
    return this.#mortal(await this.#below.open(name, config), this.#life);
  }

  remove(name: string): Promise<void> {
    return this.#below.remove(name);
  }

  list(prefix: string): Promise<string[]> {
    return this.#below.list(prefix);
  }

  /** Kills the process now, if that has not happened, and makes the machine ready for the next one. */
  revive(): void {
    this.#die();
    this.#below.crash();
    this.diesAt = null;
    this.#died = Promise.withResolvers<void>();
  }

  #die(): void {
    this.#life++;
    this.#died.resolve();
  }

  async #append(log: Log, life: number, batches: readonly Uint8Array[]) {
    if (life !== this.#life) return await NEVER;
    this.appends++;
    if (this.appends === this.failsAt) return await this.#fail(log, batches);
    const isLast = this.appends === this.diesAt;
    if (isLast && !this.keeps) {
      this.#die();
      return await NEVER;
    }
    const result = await log.append(batches);
    if (!isLast) return result;
    this.#die();
    return await NEVER;
  }

  async #fail(log: Log, batches: readonly Uint8Array[]): Promise<never> {
    const { failure } = this;
    if (failure === "DISK_FULL") throw new BrokerError("DISK_FULL", "no space is left");
    if (failure === "KEPT_BUT_FAILED") await log.append(batches);
    throw new BrokerError("STORAGE_FAILED", "sync failed");
  }

  #mortal(log: Log, life: number): Log {
    return new Proxy(log, {
      get: (target, property) => {
        if (property === "append") {
          return (batches: readonly Uint8Array[]) => this.#append(log, life, batches);
        }
        const value = Reflect.get(target, property, target);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => life === this.#life ? value.apply(target, args) : NEVER;
      },
    });
  }
}
