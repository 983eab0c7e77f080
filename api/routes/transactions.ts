// Owns the routes of transactions: begin, commit with offsets, abort, and how one stands.
// Refuses to own publishing within one (publish.ts) and every decision (the broker's).
// Invariant: what is answered is durable; a repeat of an answered commit or abort is answered alike.
import { z } from "zod";
import {
  DEFAULT_TRANSACTION_TIMEOUT_MS,
  MAX_TRANSACTION_PARTITIONS,
  MAX_TRANSACTION_TIMEOUT_MS,
  type TransactionDescription,
  type TransactionOffset,
} from "../../actors/transaction/types.ts";
import type { ErrorCode } from "../../storage/broker_error.ts";
import { askedBy } from "../auth/asker.ts";
import { groupName, label, offset, partition, refuseInternalGroup, topicName } from "../fields.ts";
import { byName, nextCursor, pageOf, pageQuery } from "../paging.ts";
import { producerEpoch, producerId } from "../producer_stamp.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";
import { existingTopic, refuseUnknownPartition } from "../topic_lookup.ts";
import { TRANSACTION_ERRORS, transactionId } from "../transaction_publish.ts";

const TAG = "Transactions";
const PATH = "/api/transactions";
const ONE_PATH = `${PATH}/{transactionId}`;
const MAX_METADATA_CHARS = 4_096;

const beginSchema = z.strictObject({
  transactionalId: label.meta({
    description: "Name of a lasting producer, one at a time: beginning fences its older holder.",
    examples: ["billing-1"],
  }),
  timeoutMs: z.int().min(1).max(MAX_TRANSACTION_TIMEOUT_MS).default(DEFAULT_TRANSACTION_TIMEOUT_MS)
    .meta({ description: "A transaction that is open for longer is aborted." }),
});

const begunSchema = z.strictObject({ transactionId, producerId, producerEpoch })
  .meta({ id: "BegunTransaction" });

const commitSchema = z.strictObject({
  offsets: z.array(z.strictObject({
    groupId: groupName,
    topic: topicName,
    partition,
    offset: offset.meta({ description: "The next offset to read." }),
    metadata: z.string().max(MAX_METADATA_CHARS).optional(),
    memberId: label.optional().meta({
      description: "Refused when it is no longer a member, or does not own the partition.",
    }),
    generation: z.int().min(0).optional().meta({ description: "Refused when it is older." }),
  })).max(MAX_TRANSACTION_PARTITIONS).default([]),
}).meta({ id: "CommitTransaction" });

const transactionSchema = z.strictObject({
  transactionId,
  transactionalId: z.string(),
  producerId,
  producerEpoch,
  state: z.enum(["open", "committing", "aborting", "committed", "aborted"]).meta({
    description: "committing and aborting are decided, and not everywhere visible yet.",
  }),
  reason: z.string().nullable().meta({ description: "Why it was aborted." }),
  partitions: z.array(z.strictObject({ topic: z.string(), partition: z.int() })).meta({
    description: "That have messages of it; empty once it has ended.",
  }),
  groups: z.array(z.string()),
}).meta({ id: "Transaction" });

const unfinishedSchema = z.strictObject({
  ...transactionSchema.shape,
  startedAt: z.int().meta({ description: "ms since the epoch" }),
  timeoutMs: z.int(),
  principal: z.string().meta({ description: "Who began it." }),
}).meta({ id: "UnfinishedTransaction" });

const params = z.strictObject({ transactionId });
const SHARED_ERRORS: readonly ErrorCode[] = [
  ...TRANSACTION_ERRORS,
  "ACTOR_DOWN",
  "DISK_FULL",
  "STORAGE_FAILED",
];

/** Routes of transactions. */
export function transactionRoutes({ broker, limits, authorizer }: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: PATH,
      operationId: "beginTransaction",
      tag: TAG,
      summary: "Begin a transaction",
      description:
        "Fences older holders of the transactional id, and aborts what they have open. The id " +
        "belongs to the principal who first held it, until nobody has used it for a week. " +
        "Publish with the `transactionId`, then commit or abort.",
      body: beginSchema,
      bodyExample: { transactionalId: "billing-1" },
      responses: { 200: { description: "It is open", schema: begunSchema } },
      errors: [
        "CONCURRENT_TRANSACTIONS",
        "FORBIDDEN",
        "ACTOR_DOWN",
        "DISK_FULL",
        "STORAGE_FAILED",
      ],
      handler: async ({ body, principal, access }) => ({
        data: await broker.transactions.begin({
          ...body,
          principal,
          ...askedBy(access, authorizer),
        }),
      }),
    }),
    defineRoute({
      method: "GET",
      path: PATH,
      operationId: "listTransactions",
      tag: TAG,
      summary: "List one's transactions that have not ended, by transactional id",
      query: pageQuery(limits),
      responses: {
        200: {
          description: "A page of transactions",
          schema: z.strictObject({ transactions: z.array(unfinishedSchema), nextCursor }),
        },
      },
      handler: async ({ query, access }) => {
        const all = await broker.transactions.unfinished(askedBy(access, authorizer));
        const order = byName((one: { transactionalId: string }) => one.transactionalId);
        const page = pageOf(all, query, order);
        return { data: { transactions: page.entries, nextCursor: page.nextCursor } };
      },
    }),
    defineRoute({
      method: "GET",
      path: ONE_PATH,
      operationId: "describeTransaction",
      tag: TAG,
      summary: "Tell how a transaction stands",
      params,
      responses: { 200: { description: "The transaction", schema: transactionSchema } },
      errors: SHARED_ERRORS,
      handler: async ({ params, access }) =>
        shown(
          await broker.transactions.describe(params.transactionId, askedBy(access, authorizer)),
        ),
    }),
    defineRoute({
      method: "POST",
      path: `${ONE_PATH}:commit`,
      operationId: "commitTransaction",
      tag: TAG,
      summary: "Commit a transaction, with offsets of groups",
      description: "Its messages and the offsets become visible together. When an offset is " +
        "refused the transaction stays open.",
      params,
      body: commitSchema,
      bodyOptional: true,
      bodyExample: {
        offsets: [{ groupId: "billing", topic: "orders", partition: 0, offset: 43 }],
      },
      responses: { 200: { description: "It is decided", schema: transactionSchema } },
      errors: [
        ...SHARED_ERRORS,
        "UNKNOWN_TOPIC",
        "UNKNOWN_PARTITION",
        "UNKNOWN_MEMBER",
        "STALE_GENERATION",
        "OFFSET_ROLLBACK",
        "OFFSET_OUT_OF_RANGE",
        "GROUP_PAUSED",
        "FORBIDDEN",
      ],
      statuses: { OFFSET_OUT_OF_RANGE: 400 },
      handler: async ({ params, body, principal, access }) => {
        body.offsets.forEach(({ groupId, topic, partition }, index) => {
          refuseInternalGroup(groupId);
          const path = `offsets[${index}].partition`;
          refuseUnknownPartition(existingTopic(broker, topic), partition, path);
        });
        const offsets = body.offsets as readonly TransactionOffset[];
        return shown(
          await broker.transactions.commit(params.transactionId, {
            offsets,
            principal,
            ...askedBy(access, authorizer),
          }),
        );
      },
    }),
    defineRoute({
      method: "POST",
      path: `${ONE_PATH}:abort`,
      operationId: "abortTransaction",
      tag: TAG,
      summary: "Abort a transaction",
      params,
      responses: { 200: { description: "It is decided", schema: transactionSchema } },
      errors: SHARED_ERRORS,
      handler: async ({ params, access }) =>
        shown(await broker.transactions.abort(params.transactionId, askedBy(access, authorizer))),
    }),
  ];
}

function shown(data: TransactionDescription) {
  return { data };
}
