// Owns one shard of transactional ids: the decider over one partition of `__transactions`, restarted when it fails.
// Refuses to own what is done with the plans that it makes (finisher.ts). Invariant: one shard, one journal.
import { supervisedActor, type SupervisedActorPorts } from "../partition/supervised_actor.ts";
import type { Partition } from "../partition/partition.ts";
import { partitionJournal } from "../partition/partition_journal.ts";
import type { KeyedActor } from "../runtime/keyed_actor.ts";
import type { Supervised } from "../runtime/supervisor.ts";
import { transactionDecider } from "./keyed_transaction.ts";
import type { TransactionPorts } from "./ports.ts";
import type { TransactionEvent, TransactionState, TransactionVolatileEvent } from "./state.ts";
import type { EndPlan, TransactionCommand } from "./types.ts";

export type TransactionShard = KeyedActor<
  TransactionState,
  TransactionCommand,
  TransactionEvent,
  TransactionVolatileEvent,
  EndPlan
>;

export interface TransactionShardOptions {
  readonly ports: SupervisedActorPorts & Pick<TransactionPorts, "crc32c">;
  /** Called for each end that is decided, and again after a restart; must not block. */
  readonly perform: (transactionalId: string, plan: EndPlan) => void;
}

/** The shard over `partition`, not started yet. */
export function transactionShard(
  partition: Partition,
  number: number,
  { ports, perform }: TransactionShardOptions,
): Supervised<TransactionShard> {
  const decider = transactionDecider;
  const journal = () => partitionJournal(partition, ports.crc32c);
  return supervisedActor(`transaction-shard/${number}`, {
    decider,
    journal,
    home: partition,
    perform,
  }, ports);
}
