// Owns what clients of a run are given: a way to ask brokers, and the ledgers that know what was answered.
// Refuses to own any of it: one broker (simulation.ts), or several (cluster/).
// Invariant: a client knows nothing of a broker but what it answers.
import type { Broker } from "../../actors/broker.ts";
import type { Log } from "../../storage/log.ts";
import type { MessageLedger } from "./ledgers/message_ledger.ts";
import type { CommitLedger } from "./ledgers/commit_ledger.ts";
import type { OwnerLedger } from "./ledgers/owner_ledger.ts";
import type { RunWorld } from "./world.ts";

/** What publishing and reading ask of a broker. */
export type MessageBroker = Pick<Broker, "topic" | "append" | "fetch" | "waitForData">;

export interface ClientPort<B = Broker> {
  /** The broker that this client would ask now, for what it knows by heart; null while there is none. */
  readonly broker: B | null;
  /** Another number when what was connected is so no longer. */
  readonly starts: number;
  /** One call. Rejects with ConnectionLost when there is no answer; else as the broker does. */
  ask<T>(who: string, run: (broker: B) => Promise<T>): Promise<T>;
}

export interface ClientScene<B = Broker> {
  readonly world: RunWorld;
  readonly machine: ClientPort<B>;
  readonly messages: MessageLedger;
  readonly topicNames: readonly string[];
  /** Brokers may pause, and then answer late, or answer what was true before: no rule is broken by that. */
  readonly mayBeLate?: boolean;
}

/** What is known of one group from outside. */
export interface GroupLedgers {
  readonly group: string;
  readonly commits: CommitLedger;
  readonly owners: OwnerLedger;
}

/** What ledgers know of where brokers run. */
export interface LedgerSource {
  readonly broker: unknown;
  /** The most that a wall clock was ahead of the truth when a process started. */
  readonly worstStartErrorMs: number;
  /** The real log, to hold answers against; null: there is none to be seen. */
  logOf(topicId: string, partition: number): Log | null;
  onEnded(listener: () => void): void;
  /** Who answers may be behind another that has answered before. */
  readonly mayBeBehind: boolean;
}
