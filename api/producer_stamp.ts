// Owns what a publish may say of its producer: the fields, their bounds, and that they come together.
// Refuses to own what follows from them: the partitions decide (actors/partition/producer_state.ts).
// Invariant: a stamp is whole, and of one partition.
import { z } from "zod";
import type { ErrorCode } from "../storage/broker_error.ts";
import { invalidRequest } from "./plain_data.ts";

/** What a publish by a known producer can be refused for. */
export const PRODUCER_ERRORS: readonly ErrorCode[] = [
  "PRODUCER_FENCED",
  "OUT_OF_ORDER_SEQUENCE",
  "INVALID_TRANSACTION_STATE",
];

const MAX_EPOCH = 32_767;
const MAX_SEQUENCE = 2_147_483_647;

export const producerId = z.int().min(0).max(Number.MAX_SAFE_INTEGER)
  .meta({
    description: "Id of a producer; 2^32 and above are given out by the broker, and those of " +
      "2^48 and above are its own: with a `transactionId` only.",
  });
export const producerEpoch = z.int().min(0).max(MAX_EPOCH)
  .meta({ description: "Raised when a producer takes its id over from an older instance." });

/** What a publish says of its producer; all three or none. */
export const producerFields = {
  producerId: producerId.optional(),
  producerEpoch: producerEpoch.optional(),
  sequence: z.int().min(0).max(MAX_SEQUENCE).optional().meta({
    description: "Of the first message, counted by partition from 0; after 2^31 - 1 comes 0.",
  }),
};

/** Who sends a batch, and its place in what it sends to one partition. */
export interface ProducerStamp {
  readonly producerId: number;
  readonly producerEpoch: number;
  /** Of the first message. */
  readonly sequence: number;
  readonly transactional?: boolean;
}

/** The stamp that a publish names, null for none. Throws INVALID_REQUEST when it is not whole, or goes to several partitions. */
export function producerStampOf(body: {
  readonly producerId?: number;
  readonly producerEpoch?: number;
  readonly sequence?: number;
  readonly partition?: number;
  readonly messages: readonly { readonly partition?: number }[];
}): ProducerStamp | null {
  const { producerId, producerEpoch, sequence, partition } = body;
  if (producerId === undefined && producerEpoch === undefined && sequence === undefined) {
    return null;
  }
  const missing = Object.entries({ producerId, producerEpoch, sequence, partition })
    .filter(([, value]) => value === undefined).map(([path]) => path);
  if (missing.length > 0) {
    const message = "producerId, producerEpoch, sequence and partition go together";
    throw invalidRequest(missing.map((path) => ({ path, message })));
  }
  const other = body.messages.findIndex((message) =>
    message.partition !== undefined && message.partition !== partition
  );
  if (other >= 0) {
    const message = "sequence numbers are of one partition: all messages must go to it";
    throw invalidRequest([{ path: `messages[${other}].partition`, message }]);
  }
  return { producerId: producerId!, producerEpoch: producerEpoch!, sequence: sequence! };
}
