// Owns how the transaction decider runs in the runtime of keyed actors.
// Refuses to own any decision. Invariant: one transactional id is one key.
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
  encode: (event) => event,
  decode: upcastTransactionEvent,
  encodeState: encodeTransaction,
  decodeState: decodeTransaction,
  stateVersion: TRANSACTION_STATE_VERSION,
};
