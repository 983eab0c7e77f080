// Owns reading from a broker's replicas what it believes to lead.
// Refuses to judge it (replica_watch.ts). Invariant: it changes nothing.
import type { Replicas } from "../../../actors/replication/replicas.ts";
import type { Leadership } from "./replica_watch.ts";

export function* leadershipsOf(replicas: Replicas): Iterable<Leadership> {
  for (const { key, log } of replicas.all()) {
    const { term, state } = log;
    if (term?.role !== "leader" || log.log === null || state === null) continue;
    const { leaderEpoch, highWatermark, flushedOffsets } = state;
    yield { ...key, leaderEpoch, highWatermark, inSync: [...flushedOffsets.keys()] };
  }
}
