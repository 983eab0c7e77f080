// Owns reading from a broker's replicas what it believes to lead.
// Refuses to judge it (replica_watch.ts). Invariant: it changes nothing.
import type { Replicas } from "../../../actors/replication/replicas.ts";
import type { Leadership } from "./replica_watch.ts";

/** With `seen`, only of replicas whose state is another one than when they were looked at last. */
export function leadershipsOf(replicas: Replicas, seen?: Map<object, unknown>): Leadership[] {
  const found: Leadership[] = [];
  for (const replica of replicas.all()) {
    const { log } = replica;
    const { term, state } = log;
    if (term?.role !== "leader" || log.log === null || state === null) continue;
    // A state is never changed: another one takes its place.
    if (seen?.get(log) === state) continue;
    seen?.set(log, state);
    const { leaderEpoch, highWatermark, flushedOffsets } = state;
    found.push({ ...replica.key, leaderEpoch, highWatermark, inSync: [...flushedOffsets.keys()] });
  }
  return found;
}
