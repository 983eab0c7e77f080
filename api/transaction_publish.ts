// Owns what a publish within a transaction may say: which fields go together, and how it reaches the broker.
// Refuses to own whether the transaction is open (the broker) and what a message may be.
// Invariant: nothing of it is stored outside of the transaction.
import { z } from "zod";
import type { AppendReceipt, Broker, TopicPartition } from "../actors/broker.ts";
import type { Asker } from "../actors/ownership.ts";
import { parseTransactionId } from "../actors/transaction/transaction_id.ts";
import type { ErrorCode } from "../storage/broker_error.ts";
import { invalidRequest } from "./plain_data.ts";

/** What a publish within a transaction can be refused for. */
export const TRANSACTION_ERRORS: readonly ErrorCode[] = [
  "UNKNOWN_TRANSACTION",
  "INVALID_TRANSACTION_STATE",
  "PRODUCER_FENCED",
];

const MAX_TRANSACTION_ID_CHARS = 1_500;

export const transactionId = z.string().min(1).max(MAX_TRANSACTION_ID_CHARS)
  .meta({ description: "As the beginning of the transaction was answered with." });

/** The field of a publish. */
export const transactionFields = {
  transactionId: transactionId.optional().meta({
    description: "The messages become visible when this transaction is committed, or never. " +
      "With `partition` and `sequence` a repeat is harmless, if none was published there without.",
  }),
};

interface TransactionalBody {
  readonly transactionId?: string;
  readonly acks: string;
  readonly partition?: number;
  readonly producerId?: number;
  readonly producerEpoch?: number;
  readonly sequence?: number;
  readonly messages: readonly { readonly partition?: number }[];
}

/** Throws INVALID_REQUEST, UNKNOWN_TRANSACTION. A body without transaction passes. */
export function checkTransactional(body: TransactionalBody): void {
  if (body.transactionId === undefined) return;
  const of = parseTransactionId(body.transactionId);
  const faults: { path: string; message: string }[] = [];
  const refuse = (path: string, message: string) => faults.push({ path, message });
  if (body.acks === "none") refuse("acks", "must be all or leader in a transaction");
  for (const path of ["producerId", "producerEpoch"] as const) {
    if (body[path] === undefined || body[path] === of[path]) continue;
    refuse(path, `is not that of the transaction, ${of[path]}`);
  }
  const { producerId, producerEpoch, partition, sequence, messages } = body;
  if ((producerId === undefined) !== (producerEpoch === undefined)) {
    const path = producerId === undefined ? "producerId" : "producerEpoch";
    refuse(path, "producerId and producerEpoch go together");
  }
  if (sequence !== undefined && partition === undefined) {
    refuse("partition", "is needed with a sequence");
  }
  const other = messages.findIndex((message) =>
    sequence !== undefined && message.partition !== undefined && message.partition !== partition
  );
  if (other >= 0) {
    refuse(`messages[${other}].partition`, "sequence numbers are of one partition");
  }
  if (faults.length > 0) throw invalidRequest(faults);
}

/** Appends as the request says: within its transaction, or as any other. */
export function appendAsAsked(
  broker: Broker,
  at: TopicPartition,
  { batches, request, asker }: {
    batches: readonly Uint8Array[];
    /** Whose the transaction has to be. */
    asker?: Asker | undefined;
    request: {
      readonly acks: "all" | "leader" | "none";
      readonly transactionId?: string;
      readonly sequence?: number;
    };
  },
): Promise<AppendReceipt> {
  const { acks, transactionId, sequence } = request;
  if (transactionId === undefined) return broker.append(at, batches, { acks });
  return broker.transactions.append(at, batches, {
    transactionId,
    ...(sequence === undefined ? {} : { sequence }),
    ...(asker === undefined ? {} : { asker }),
  });
}
