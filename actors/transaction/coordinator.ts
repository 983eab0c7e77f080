// Owns the transaction coordinator: transactional ids sharded over `__transactions`, and the steps of each call.
// Refuses to own decisions (decide.ts), appends (writers.ts) and carrying ends out (finisher.ts).
// Invariant: a partition or group is in the journal before the transaction touches it, so an end always finds it again.
import { BrokerError } from "../../storage/broker_error.ts";
import { partitionForKey } from "../../storage/format/murmur2.ts";
import type { AppendReceipt, TopicPartition } from "../broker.ts";
import { type Asker, mayActOn } from "../ownership.ts";
import type { Partition } from "../partition/partition.ts";
import type { RetainOptions } from "../runtime/journal_retention.ts";
import { KeyedTurns } from "../runtime/keyed_turns.ts";
import type { Revivable } from "../runtime/revived_actors.ts";
import { RetainedJournal } from "../runtime/retained_journal.ts";
import type { Supervised } from "../runtime/supervisor.ts";
import { unfinished } from "./decide.ts";
import { Finisher } from "./finisher.ts";
import { JOURNAL_WINDOW_MS, JOURNAL_WORDS } from "./keyed_transaction.ts";
import type { TransactionPorts } from "./ports.ts";
import { type TransactionShard, transactionShard } from "./shard.ts";
import type { TransactionState } from "./state.ts";
import { parseTransactionId, transactionIdOf } from "./transaction_id.ts";
import {
  type AddPartitionsReply,
  type AskedBy,
  type BeginReply,
  type BegunTransaction,
  DEFAULT_TRANSACTION_TIMEOUT_MS,
  type TransactionCommand,
  type TransactionDescription,
  type TransactionIdentity,
  type TransactionOffset,
  type Transactions,
  type UnfinishedTransaction,
} from "./types.ts";
import { TransactionWriters } from "./writers.ts";

/** The internal topic that holds the journals of all transactional ids. */
export const TRANSACTIONS_TOPIC = "__transactions";
/** Used when it is made, never afterwards. */
export const TRANSACTIONS_PARTITIONS = 4;
/**
 * Transactional ids of one shard, each of which takes some 2 KB: an id for each run is no way to use them. Ids that idle
 * are forgotten after a week.
 */
const MAX_IDS = 25_000;
/** Of these a tenant may have no more than this share: the rest is for others. */
const TENANT_SHARE_OF_IDS = 0.75;
/** How long a call waits for markers before it answers that they are still to come. */
const MAX_END_WAIT_MS = 10_000;
/** Tries of one beginning, which meets at most one transaction that has to end first. */
const MAX_BEGIN_ATTEMPTS = 8;

export interface TransactionCoordinatorOptions {
  /** The partitions of `__transactions`, in order. */
  readonly partitions: readonly Partition[];
  /** Ids of one shard; one more is refused. */
  readonly maxIds?: number;
  readonly ports: TransactionPorts;
}

const encoder = new TextEncoder();

export class TransactionCoordinator implements Transactions {
  readonly #shards: readonly Supervised<TransactionShard>[];
  readonly #writers: TransactionWriters;
  readonly #finisher: Finisher;
  readonly #journals: readonly RetainedJournal<TransactionState, TransactionCommand>[];
  /** By transactional id: staging offsets and dropping them must not overtake each other. */
  readonly #turns = new KeyedTurns();
  /** By transactional id: those who begin would otherwise fence each other before any has begun. */
  readonly #begins = new KeyedTurns();

  private constructor(private readonly options: TransactionCoordinatorOptions) {
    const { ports } = options;
    this.#writers = new TransactionWriters({
      logs: ports.logs,
      crc32c: ports.crc32c,
      addPartition: async (of, at) => {
        const added = await this.#ask({ type: "AddPartitions", ...of, partitions: [at] });
        return (added as AddPartitionsReply).owner;
      },
    });
    this.#finisher = new Finisher({
      ports,
      coordinatorEpoch: (id) => options.partitions[this.#shardOf(id)]!.info().leaderEpoch,
      isOurs: (id) => options.partitions[this.#shardOf(id)]!.leads,
      quiet: (of) => this.#writers.close(of),
      finished: async ({ transactionalId, producerId, producerEpoch }) => {
        const identity = { transactionalId, producerId, producerEpoch };
        await this.#ask({ type: "Finish", ...identity });
        this.#writers.forget(identity);
      },
    });
    this.#shards = options.partitions.map((partition, number) =>
      transactionShard(partition, number, {
        ports,
        perform: (id, plan) => this.#finisher.start(plan, (work) => this.#turns.run(id, work)),
      })
    );
    this.#journals = this.#shards.map((actor, number) => {
      const partition = options.partitions[number]!;
      return new RetainedJournal({
        actor,
        words: JOURNAL_WORDS,
        partition,
        ports,
      });
    });
  }

  /** Loads every shard, and goes on with every transaction whose end is decided. */
  static async open(options: TransactionCoordinatorOptions): Promise<TransactionCoordinator> {
    const coordinator = new TransactionCoordinator(options);
    await Promise.all(coordinator.#shards.map((shard) => shard.start()));
    return coordinator;
  }

  async begin(
    { transactionalId, timeoutMs = DEFAULT_TRANSACTION_TIMEOUT_MS, principal, asker }: {
      transactionalId: string;
      timeoutMs?: number;
      principal: string;
      asker?: Asker;
    },
  ): Promise<BegunTransaction> {
    await this.#refuseTooMany(transactionalId, asker);
    const waitsUntil = this.options.ports.clock.monotonic() + MAX_END_WAIT_MS;
    const who = { transactionalId, timeoutMs, principal, ...asked(asker) };
    // Whoever is before it waits no longer than it does, so that its turn comes in time for an answer.
    return await this.#begins.run(transactionalId, () => this.#begin(who, waitsUntil));
  }

  /** `waitsUntil`: monotonic. */
  async #begin(
    who: { transactionalId: string; timeoutMs: number; principal: string } & AskedBy,
    waitsUntil: number,
  ): Promise<BegunTransaction> {
    const { clock, allocateProducerId } = this.options.ports;
    const { transactionalId } = who;
    let newProducerId: number | null = null;
    for (let attempt = 0; attempt < MAX_BEGIN_ATTEMPTS; attempt++) {
      // It would fence a holder, and then begin nothing.
      if (clock.monotonic() >= waitsUntil) break;
      const command = { ...who, newProducerId };
      const reply = await this.#ask({ type: "Begin", ...command }) as BeginReply;
      if (reply.outcome === "begun") {
        const { producerId, producerEpoch } = reply;
        const transactionId = transactionIdOf({ transactionalId, producerId, producerEpoch });
        return { transactionId, producerId, producerEpoch };
      }
      if (reply.outcome === "needs producer id") {
        newProducerId = await allocateProducerId();
        continue;
      }
      await this.#finisher.settled(reply.before, Math.max(0, waitsUntil - clock.monotonic()));
    }
    throw new BrokerError(
      "CONCURRENT_TRANSACTIONS",
      `the transaction of ${transactionalId} before this one has not ended yet`,
      { transactionalId },
    );
  }

  // deno-lint-ignore require-await -- an unknown transaction must reject, as it would from afar
  async append(
    at: TopicPartition,
    batches: readonly Uint8Array[],
    { transactionId, sequence, asker }: {
      transactionId: string;
      sequence?: number;
      asker?: Asker;
    },
  ): Promise<AppendReceipt> {
    const of = parseTransactionId(transactionId);
    return this.#writers.append({ ...of, ...asked(asker) }, { at, batches, sequence });
  }

  async commit(
    transactionId: string,
    { offsets, principal, asker }: {
      offsets: readonly TransactionOffset[];
      principal: string;
      asker?: Asker;
    },
  ): Promise<TransactionDescription> {
    const of = { ...parseTransactionId(transactionId), ...asked(asker) };
    // A turn may last as long as an end cannot be carried out: who only asks what became of it does not wait for that.
    if ((await this.#describe(of)).state !== "open") await this.#prepare(of, true);
    else await this.#commitOpen(of, offsets, principal);
    return await this.#ended(of);
  }

  /** Another call, or the transaction's time, may end it before its turn comes. */
  async #commitOpen(
    of: TransactionIdentity & AskedBy,
    offsets: readonly TransactionOffset[],
    principal: string,
  ): Promise<void> {
    await this.#turns.run(of.transactionalId, async () => {
      if ((await this.#describe(of)).state !== "open") return await this.#prepare(of, true);
      await this.#writers.close(of);
      try {
        if (offsets.length > 0) await this.#stage(of, offsets, principal);
        await this.#prepare(of, true);
      } catch (error) {
        this.#writers.reopen(of);
        throw error;
      }
    });
  }

  async abort(
    transactionId: string,
    { asker }: AskedBy = {},
  ): Promise<TransactionDescription> {
    const of = { ...parseTransactionId(transactionId), ...asked(asker) };
    await this.#prepare(of, false);
    return await this.#ended(of);
  }

  async describe(
    transactionId: string,
    { asker }: AskedBy = {},
  ): Promise<TransactionDescription> {
    return await this.#describe({ ...parseTransactionId(transactionId), ...asked(asker) });
  }

  async unfinished({ asker }: AskedBy = {}): Promise<readonly UnfinishedTransaction[]> {
    const running = this.#shards.filter((shard) => shard.isRunning);
    const found = await Promise.all(
      running.map((shard) =>
        shard.get().query((states) =>
          [...states.values()].filter(({ owner }) => mayActOn(owner, asker))
            .flatMap((state) => unfinished(state) ?? [])
        )
      ),
    );
    return found.flat().sort((a, b) => a.transactionalId < b.transactionalId ? -1 : 1);
  }

  /**
   * Drops of the journals what is older than `JOURNAL_WINDOW_MS`, once all that is known has been written down after it.
   * `now` is trusted wall time. A shard that cannot now does so at the next call.
   */
  async applyRetention(
    now: number,
    options: Pick<RetainOptions, "minDroppableOffsets"> = {},
  ): Promise<void> {
    for (const journal of this.#journals) {
      await journal.applyRetention({ ...options, now, windowMs: JOURNAL_WINDOW_MS });
    }
  }

  /** What keeps transactions from being served, empty when nothing does. */
  problems(): string[] {
    return this.#shards.flatMap((shard) => shard.problems());
  }

  /** What keeps its shards running. */
  get actors(): readonly Revivable[] {
    return this.#shards;
  }

  async close(): Promise<void> {
    await this.#finisher.close();
    await Promise.all(this.#shards.map((shard) => shard.close()));
  }

  #describe(of: TransactionIdentity & AskedBy): Promise<TransactionDescription> {
    return this.#ask({ type: "Describe", ...of }) as Promise<TransactionDescription>;
  }

  async #prepare(of: TransactionIdentity & AskedBy, commit: boolean): Promise<void> {
    await this.#ask({ type: "Prepare", ...of, commit });
  }

  /** Waits, but not for ever: what is decided is decided, and told so. */
  async #ended(of: TransactionIdentity & AskedBy): Promise<TransactionDescription> {
    await this.#finisher.settled(of, MAX_END_WAIT_MS);
    return await this.#describe(of);
  }

  async #stage(
    of: TransactionIdentity & AskedBy,
    offsets: readonly TransactionOffset[],
    principal: string,
  ): Promise<void> {
    const { groups } = this.options.ports;
    const transactionId = transactionIdOf(of);
    const byGroup = Map.groupBy(offsets, ({ groupId }) => groupId);
    await this.#ask({ type: "AddGroups", ...of, groups: [...byGroup.keys()] });
    const staged: string[] = [];
    try {
      for (const [group, offsets] of byGroup) {
        staged.push(group);
        await groups.stage({ group, transactionId, offsets, principal, ...asked(of.asker) });
      }
    } catch (error) {
      // The transaction stays open; its end would drop them too, but until then they would hold others up.
      const drop = (group: string) => groups.end({ group, transactionId, commit: false });
      await Promise.allSettled(staged.map(drop));
      throw error;
    }
  }

  async #refuseTooMany(transactionalId: string, asker: Asker | undefined): Promise<void> {
    const { maxIds = MAX_IDS } = this.options;
    const shard = this.#shards[this.#shardOf(transactionalId)]!.get();
    if (shard.knows(transactionalId)) return;
    const details = { transactionalId, maxIds };
    if (shard.size >= maxIds) {
      const message = `there are ${maxIds} transactional ids already`;
      throw new BrokerError("OVERLOADED", message, details);
    }
    const maxOwn = maxIds * TENANT_SHARE_OF_IDS;
    if (asker === undefined || asker.isAdministrator || shard.size < maxOwn) return;
    const { tenant } = asker;
    const own = await shard.query((states) =>
      states.values().reduce((count, { owner }) => owner?.tenant === tenant ? count + 1 : count, 0)
    );
    if (own < maxOwn) return;
    const message = `tenant ${tenant} has ${own} transactional ids already`;
    throw new BrokerError("OVERLOADED", message, { ...details, tenant });
  }

  async #ask(command: TransactionCommand): Promise<unknown> {
    const { transactionalId } = command;
    return await this.#shards[this.#shardOf(transactionalId)]!.get().ask(transactionalId, command);
  }

  #shardOf(transactionalId: string): number {
    if (this.#shards.length === 0) {
      throw new BrokerError("LEADER_NOT_AVAILABLE", "no transaction shard is here");
    }
    return partitionForKey(encoder.encode(transactionalId), this.#shards.length);
  }
}

function asked(asker: Asker | undefined): AskedBy {
  return asker === undefined ? {} : { asker };
}
