// Owns a log store over another whose appends can be made slow, full, broken or dead at one moment.
// Refuses to own what then should happen. Invariant: without a fault it is the store below it.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Log, LogConfig, LogStore } from "../../storage/log.ts";
import { wrappedLog } from "./wrapped_logs.ts";

export type AppendFault =
  | "DISK_FULL"
  /** The batch is not kept, and nobody can know. */
  | "STORAGE_FAILED"
  /** The batch is kept, and nobody can know. */
  | "KEPT_BUT_FAILED";

export class FaultyLogStore implements LogStore {
  /** Applied to the next append, then forgotten. */
  nextFault: AppendFault | null = null;
  /** Applied to the next opening of a log, then forgotten. */
  nextOpenError: BrokerError | null = null;
  /** What every log says is wrong with it. */
  fault: BrokerError | null = null;
  /** While set, appends wait for it before they write. */
  gate: Promise<void> | null = null;
  /** Number of batches of each append that reached the log. */
  readonly appends: number[] = [];

  constructor(private readonly below: LogStore) {}

  async open(name: string, config: LogConfig): Promise<Log> {
    const error = this.nextOpenError;
    this.nextOpenError = null;
    if (error !== null) throw error;
    return this.#faulty(await this.below.open(name, config));
  }

  remove(name: string): Promise<void> {
    return this.below.remove(name);
  }

  list(prefix: string): Promise<string[]> {
    return this.below.list(prefix);
  }

  #faulty(log: Log): Log {
    const append = async (batches: readonly Uint8Array[]) => {
      if (this.gate !== null) await this.gate;
      const fault = this.nextFault;
      this.nextFault = null;
      if (fault === "DISK_FULL") throw new BrokerError("DISK_FULL", "no space is left");
      if (fault === "STORAGE_FAILED") throw new BrokerError("STORAGE_FAILED", "sync failed");
      const result = await log.append(batches);
      this.appends.push(batches.length);
      if (fault === "KEPT_BUT_FAILED") throw new BrokerError("STORAGE_FAILED", "sync failed");
      return result;
    };
    const faultOf = () => this.fault;
    return wrappedLog(log, {
      append,
      get fault() {
        return faultOf();
      },
    });
  }
}
