// Owns a log store whose process dies at a chosen append: from there on nothing it is asked for ever comes back.
// Refuses to own what survives: that is the store below, over which the next life is opened.
// Invariant: the append it dies in is kept or not, as told; nobody in that life hears which.
import type { Log, LogConfig, LogStore } from "../../storage/log.ts";
import { wrappedLog } from "./wrapped_logs.ts";

export interface Death {
  /** Appends that still succeed. */
  readonly afterAppends: number;
  /** Whether the append that it dies in is kept. */
  readonly kept: boolean;
}

const NEVER = new Promise<never>(() => {});

export class DyingLogStore implements LogStore {
  appends = 0;
  dead = false;
  readonly #open = new Set<Log>();

  /** One life; null: it does not die. */
  constructor(private readonly below: LogStore, private readonly death: Death | null) {}

  async open(name: string, config: LogConfig): Promise<Log> {
    if (this.dead) return await NEVER;
    const log = await this.below.open(name, config);
    this.#open.add(log);
    return this.#mortal(log);
  }

  /** Ends this life for good, so that the store below can be opened by the next. */
  async bury(): Promise<void> {
    this.dead = true;
    await Promise.all([...this.#open].map((log) => log.close()));
  }

  remove(name: string): Promise<void> {
    return this.dead ? NEVER : this.below.remove(name);
  }

  list(prefix: string): Promise<string[]> {
    return this.dead ? NEVER : this.below.list(prefix);
  }

  #mortal(log: Log): Log {
    const append = async (batches: readonly Uint8Array[]) => {
      if (this.dead) return await NEVER;
      if (this.death !== null && this.appends++ >= this.death.afterAppends) {
        this.dead = true;
        if (this.death.kept) await log.append(batches);
        return await NEVER;
      }
      return await log.append(batches);
    };
    return wrappedLog(log, { append, close: () => this.dead ? NEVER : log.close() });
  }
}
