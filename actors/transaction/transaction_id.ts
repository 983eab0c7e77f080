// Owns the name under which users speak of one transaction.
// Refuses to own whether there is such a transaction (the coordinator).
// Invariant: the name says which transactional id, producer and epoch it is, so no table has to be kept of names.
import { BrokerError } from "../../storage/broker_error.ts";
import type { TransactionIdentity } from "./types.ts";

const MAX_EPOCH = 32_767;
const PATTERN = /^([A-Za-z0-9_-]{1,1400})\.(\d{1,15})\.(\d{1,5})$/;

/** `<transactional id in base64url>.<producer id>.<epoch>` */
export function transactionIdOf(identity: TransactionIdentity): string {
  const bytes = new TextEncoder().encode(identity.transactionalId);
  const text = btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return `${text}.${identity.producerId}.${identity.producerEpoch}`;
}

/** Throws UNKNOWN_TRANSACTION for what `transactionIdOf` cannot have made. */
export function parseTransactionId(transactionId: string): TransactionIdentity {
  const parts = PATTERN.exec(transactionId);
  if (parts === null) throw unknownTransaction(transactionId);
  const [, text, producerId, producerEpoch] = parts as unknown as [string, string, string, string];
  const identity = {
    transactionalId: decoded(text, transactionId),
    producerId: Number(producerId),
    producerEpoch: Number(producerEpoch),
  };
  const isOurs = identity.producerEpoch <= MAX_EPOCH && transactionIdOf(identity) === transactionId;
  if (!isOurs) throw unknownTransaction(transactionId);
  return identity;
}

function decoded(text: string, transactionId: string): string {
  try {
    const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
      .decode(Uint8Array.from(bytes, (char) => char.charCodeAt(0)));
  } catch {
    throw unknownTransaction(transactionId);
  }
}

export function unknownTransaction(transactionId: string): BrokerError {
  return new BrokerError("UNKNOWN_TRANSACTION", `there is no transaction ${transactionId}`, {
    transactionId,
  });
}
