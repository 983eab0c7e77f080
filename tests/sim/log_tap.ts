// Owns knowing what the real logs say of themselves, whatever a mutant above them claims.
// Refuses to change anything. Invariant: it hands out the very logs it was given.
import type { Log, LogConfig, LogStore } from "../../storage/log.ts";

export class LogTap {
  readonly #logs = new Map<string, Log>();

  /** The log whose name ends in `topicId/partition`, as it was last opened. */
  of(topicId: string, partition: number): Log | null {
    return this.#logs.get(`${topicId}/${partition}`) ?? null;
  }

  over(store: LogStore): LogStore {
    this.#logs.clear();
    return {
      open: async (name: string, config: LogConfig) => {
        const log = await store.open(name, config);
        this.#logs.set(name.split("/").slice(-2).join("/"), log);
        return log;
      },
      encrypts: store.encrypts === true,
      remove: (name) => store.remove(name),
      list: (prefix) => store.list(prefix),
    };
  }
}
