// Owns what a publish request may say: its fields and their bounds.
// Refuses to own what a message may be (incoming_message.ts) and what is done with it (publish_preparation.ts).
// Invariant: what is documented is what validates.
import { z } from "zod";
import { partition, topicName } from "./fields.ts";
import { incomingMessageSchema } from "./incoming_message.ts";
import type { ApiLimits } from "./limits.ts";
import { producerFields } from "./producer_stamp.ts";
import { transactionFields } from "./transaction_publish.ts";

export const acksField = z.enum(["all", "leader", "none"]).default("all").meta({
  description: "What to wait for: every in-sync replica, the leader, or nothing.",
});

/** The body of a publish. */
export function publishSchema(limits: ApiLimits) {
  return z.strictObject({
    topic: topicName,
    messages: z.array(incomingMessageSchema).min(1).max(limits.maxMessagesPerRequest),
    acks: acksField,
    partition: partition.optional().meta({ description: "For messages that name none." }),
    ...producerFields,
    ...transactionFields,
  }).meta({ id: "Publish" });
}

export type Publish = z.output<ReturnType<typeof publishSchema>>;
