// Owns logs of which a test changes some members and leaves the rest to the log below.
// Refuses to own what is changed. Invariant: what is not changed runs on the log below as if nobody stood between.
import type { Log, LogStore } from "../../storage/log.ts";
import { withMembers } from "./with_members.ts";

/** Members that stand for those of a log; getters are asked at each use. */
export type ChangedMembers = Partial<Log>;

export function wrappedLog(log: Log, changed: ChangedMembers): Log {
  return withMembers(log, changed);
}

/** `logs`, each of whose logs is changed as it is opened. */
export function wrappedLogs(
  logs: LogStore,
  change: (log: Log, name: string) => ChangedMembers,
): LogStore {
  return {
    open: async (name, config) => {
      const log = await logs.open(name, config);
      return wrappedLog(log, change(log, name));
    },
    remove: (name) => logs.remove(name),
    list: (prefix) => logs.list(prefix),
  };
}
