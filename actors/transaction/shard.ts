// Owns one shard of transactional ids: the decider over one partition of `__transactions`, restarted when it fails.
// Refuses to own what is done with the plans that it makes (finisher.ts). Invariant: one shard, one journal.
import type { Partition } from "../partition/partition.ts";
import { partitionJournal } from "../partition/partition_journal.ts";
import { KeyedActor } from "../runtime/keyed_actor.ts";
import { DEFAULT_KEYED_ACTOR_BOUNDS } from "../runtime/keyed_options.ts";
import { DEFAULT_RESTART_BOUNDS } from "../runtime/restart_policy.ts";
import { Supervised } from "../runtime/supervisor.ts";
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
  readonly ports: Pick<
    TransactionPorts,
    "snapshots" | "clock" | "timers" | "crc32c" | "runtimeLog"
  >;
  /** Called for each end that is decided, and again after a restart; must not block. */
  readonly perform: (transactionalId: string, plan: EndPlan) => void;
}

/** The shard over `partition`, not started yet. */
export function transactionShard(
  partition: Partition,
  number: number,
  { ports, perform }: TransactionShardOptions,
): Supervised<TransactionShard> {
  const { snapshots, clock, timers, crc32c, runtimeLog: log } = ports;
  const id = `transaction-shard/${number}`;
  return new Supervised<TransactionShard>({
    id,
    bounds: DEFAULT_RESTART_BOUNDS,
    clock,
    timers,
    log,
    start: (onFailure) =>
      KeyedActor.open({
        id,
        decider: transactionDecider,
        journal: partitionJournal(partition, crc32c),
        snapshots,
        clock,
        timers,
        log,
        onFailure,
        bounds: DEFAULT_KEYED_ACTOR_BOUNDS,
        perform,
      }),
  });
}
