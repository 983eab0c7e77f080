// Owns which home of keys may append to one partition: what an older one sends comes too late.
// Refuses to own keys (../message_keys/, ../request_keys/) and writing (partition_writer.ts).
// Invariant: once a newer term was told here, or the cluster's record of the home is known to be newer, nothing of an older
// one is appended; what is refused has left nothing.
//
// Kept in memory, as long as the process: leadership of the partition may go and come. A leader that was told of nothing
// (another one, or a new process) goes by the record of the home's own partition, as it knows it. What remains: it was
// elected just now, has not heard yet of the newer home, which had told its predecessor alone, and gets an append of the
// older home in that moment.
import { BrokerError } from "../../storage/broker_error.ts";
import type { KeysTerm } from "./types.ts";

export interface KeyFenceOptions {
  /** Topic name and number, for messages. */
  readonly name: string;
  /** Leader epoch of partition 0 of a topic as this broker knows it; -1: not at all. */
  homeEpoch(topicId: string): number;
}

export class KeyFence {
  /** By topic of the home: the partition's own, and that of requests. */
  readonly #newest = new Map<string, KeysTerm>();

  constructor(private readonly options: KeyFenceOptions) {}

  /** Throws STALE_EPOCH for a term that is over. */
  check(term: KeysTerm): void {
    const { topicId, leaderEpoch, round } = term;
    const told = this.#newest.get(topicId);
    const currentEpoch = Math.max(told?.leaderEpoch ?? -1, this.options.homeEpoch(topicId));
    const isOver = leaderEpoch < currentEpoch ||
      (leaderEpoch === told?.leaderEpoch && round < told.round);
    if (!isOver) return;
    const message = `${this.options.name} takes nothing any more of an older home of keys`;
    throw new BrokerError("STALE_EPOCH", message, { currentEpoch });
  }

  /** From now on older terms are over. Throws STALE_EPOCH when this one is. */
  raise(term: KeysTerm): void {
    this.check(term);
    this.#newest.set(term.topicId, term);
  }
}
