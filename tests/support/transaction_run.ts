// Owns running the decider of a transactional id in virtual time, as the runtime does.
// Refuses to own any expectation. Invariant: events pass through JSON, so nothing survives that a journal would lose.
import { FIRST_OWN_ID } from "../../actors/partition/producer_ids.ts";
import { decideTransaction } from "../../actors/transaction/decide.ts";
import {
  decodeTransaction,
  encodeTransaction,
  evolveTransaction,
  initialTransaction,
  type TransactionEvent,
  type TransactionState,
  upcastTransactionEvent,
} from "../../actors/transaction/state.ts";
import type {
  BeginReply,
  EndPlan,
  TransactionCommand,
  TransactionDescription,
  TransactionIdentity,
} from "../../actors/transaction/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";

export const ID = "billing-1";
/** What a transactional id of a run gets first. */
export const FIRST_ID = FIRST_OWN_ID + 100;
const WALL_START = 1_700_000_000_000;

export class TransactionRun {
  state: TransactionState = initialTransaction(ID);
  now = 0;
  nextProducerId = FIRST_ID;
  readonly journal: TransactionEvent[] = [];
  /** Plans that were started, in order; a crash starts some again. */
  readonly plans: EndPlan[] = [];

  execute(command: TransactionCommand): unknown {
    const at = { wall: WALL_START + this.now, monotonic: this.now };
    const decision = decideTransaction(this.state, command, at);
    const events = decision.events.map((event) =>
      upcastTransactionEvent(JSON.parse(JSON.stringify(event)))
    );
    this.journal.push(...events);
    for (const event of [...events, ...decision.volatile]) {
      this.state = evolveTransaction(this.state, event);
    }
    this.plans.push(...decision.effects);
    return decision.reply;
  }

  /** As the coordinator does, less waiting: the identity, or what must end first. */
  begin(timeoutMs = 60_000): BeginReply {
    const command = { type: "Begin", transactionalId: ID, timeoutMs, principal: "p" } as const;
    const reply = this.execute({ ...command, newProducerId: null }) as BeginReply;
    if (reply.outcome !== "needs producer id") return reply;
    return this.execute({ ...command, newProducerId: this.nextProducerId++ }) as BeginReply;
  }

  begun(timeoutMs = 60_000): TransactionIdentity {
    const reply = this.begin(timeoutMs);
    if (reply.outcome !== "begun") throw new Error(`it is ${reply.outcome}`);
    const { producerId, producerEpoch } = reply;
    return { transactionalId: ID, producerId, producerEpoch };
  }

  add(of: TransactionIdentity, partition: number): void {
    const partitions = [{ topic: "orders", topicId: "t1", partition }];
    this.execute({ type: "AddPartitions", ...of, partitions });
  }

  prepare(of: TransactionIdentity, commit: boolean): TransactionDescription {
    return this.execute({ type: "Prepare", ...of, commit }) as TransactionDescription;
  }

  finish(of: TransactionIdentity): void {
    this.execute({ type: "Finish", ...of });
  }

  describe(of: TransactionIdentity): TransactionDescription {
    return this.execute({ type: "Describe", ...of }) as TransactionDescription;
  }

  /** Advances to the deadline, and ticks. */
  tick(advanceMs: number): void {
    this.now += advanceMs;
    this.execute({ type: "Tick", transactionalId: ID });
  }

  /** Loads the journal, or a snapshot, as a new process would. */
  restart(options: { snapshot?: boolean } = {}): void {
    this.now = 0;
    this.state = options.snapshot
      ? decodeTransaction(JSON.parse(JSON.stringify(encodeTransaction(this.state))))
      : this.journal.reduce<TransactionState>(evolveTransaction, initialTransaction(ID));
    this.execute({ type: "Recovered", transactionalId: ID });
  }

  refusal(act: () => unknown): string | null {
    try {
      act();
      return null;
    } catch (error) {
      if (error instanceof BrokerError) return error.code;
      throw error;
    }
  }
}
