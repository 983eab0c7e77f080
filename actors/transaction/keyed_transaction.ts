// Owns how the transaction decider runs in the runtime of keyed actors, and what retention says to it.
// Refuses to own any decision. Invariant: one transactional id is one key.
import { type JournalWords, NO_KEY } from "../runtime/journal_retention.ts";
import type { KeyedDecider } from "../runtime/keyed_decider.ts";
import { decideTransaction } from "./decide.ts";
import {
  decodeTransaction,
  encodeTransaction,
  evolveTransaction,
  initialTransaction,
  isTransactionGone,
  TRANSACTION_STATE_VERSION,
  type TransactionEvent,
  type TransactionState,
  type TransactionVolatileEvent,
  upcastTransactionEvent,
} from "./state.ts";
import type { EndPlan, TransactionCommand } from "./types.ts";

export const transactionDecider: KeyedDecider<
  TransactionState,
  TransactionCommand,
  TransactionEvent,
  TransactionVolatileEvent,
  EndPlan
> = {
  initial: initialTransaction,
  decide: (state, command, { at }) => decideTransaction(state, command, at),
  evolve: evolveTransaction,
  deadline: ({ deadlineAt }) => deadlineAt,
  tick: (transactionalId) => ({ type: "Tick", transactionalId }),
  recovered: (transactionalId) => ({ type: "Recovered", transactionalId }),
  isGone: isTransactionGone,
  completeFrom: (event) => event.type === "JournalCompleted" ? event.fromOffset : null,
  encode: (event) => event,
  decode: upcastTransactionEvent,
  encodeState: encodeTransaction,
  decodeState: decodeTransaction,
  stateVersion: TRANSACTION_STATE_VERSION,
};

/** Journals keep what is younger than this: nobody asks for it, but it tells what went on. */
export const JOURNAL_WINDOW_MS = 24 * 3_600_000;

/** What retention says to a shard. */
export const JOURNAL_WORDS: JournalWords<TransactionCommand> = Object.freeze({
  nothing: () => ({ type: "Recovered" as const, transactionalId: NO_KEY }),
  record: (transactionalId: string) => ({ type: "RecordState" as const, transactionalId }),
  complete: (fromOffset: number) => ({
    type: "CompleteJournal" as const,
    transactionalId: NO_KEY,
    fromOffset,
  }),
});
