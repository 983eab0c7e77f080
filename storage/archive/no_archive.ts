// Owns what stands in for the archive of a broker that is configured with none.
// Refuses to own which logs miss one (archived_log.ts).
// Invariant: every call is refused with ARCHIVE_UNAVAILABLE: what was archived before is not lost, it is out of reach.
import type { ArchiveStore } from "../archive.ts";
import { BrokerError } from "../broker_error.ts";

/** An archive that has never an answer. */
export const NO_ARCHIVE: ArchiveStore = Object.freeze({
  put: (key: string) => refuse(key),
  get: (key: string) => refuse(key),
  remove: (key: string) => refuse(key),
  list: (prefix: string) => refuse(prefix),
});

function refuse(key: string): Promise<never> {
  const message = `${key} lies in an archive, and this broker has none configured`;
  return Promise.reject(new BrokerError("ARCHIVE_UNAVAILABLE", message));
}
