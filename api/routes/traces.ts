// Owns the route that tells what became of the messages that carried a trace.
// Refuses to own finding it (actors/trace/).
// Invariant: an event is told only to who may read the topic it was found in, and sees the topics and the group it names; what
// else it names is left out as if there were none.
import { z } from "zod";
import type { TraceEvent } from "../../actors/trace/types.ts";
import type { Access } from "../auth/access.ts";
import type { Authorizer } from "../auth/authorizer.ts";
import { nextCursor, pageOf, pageQuery } from "../paging.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const NO_TRACE = "0".repeat(32);
const DIGITS = 16;

const traceId = z.string().regex(/^[0-9a-f]{32}$/, "must be 32 lower-case hex digits")
  .refine((id) => id !== NO_TRACE, "must not be all zeros")
  .meta({ description: "The second part of a W3C `traceparent`." });

const eventSchema = z.strictObject({
  at: z.int().meta({
    description: "ms since the epoch; of `published` the timestamp of the first message.",
  }),
  kind: z.enum([
    "published",
    "delivered",
    "retried",
    "nacked",
    "parked",
    "committed",
    "dead-lettered",
    "redriven",
    "replayed",
    "rewound",
    "skipped",
    "lost",
  ]).meta({
    description:
      "published: stored at that offset, durably. delivered, retried: handed to a reader, for the first time or again. nacked: that attempt failed. parked: waits behind another message of its key. committed: the group's offset passed it. dead-lettered: its letter is in `related`. redriven, replayed: appended there by a job, or (with a group) to be read by the group again. rewound, skipped: the group's offset was moved back over it, or on past it. lost: its retry found it gone.",
  }),
  topic: z.string(),
  partition: z.int(),
  offset: z.int(),
  lastOffset: z.int().optional().meta({
    description: "Of the last message, where the same happened to several next to each other.",
  }),
  group: z.string().optional(),
  member: z.string().optional(),
  attempt: z.int().optional().meta({ description: "Which delivery; of a nack, the failed one." }),
  related: z.strictObject({ topic: z.string(), partition: z.int(), offset: z.int() }).optional()
    .meta({
      description:
        "Of dead-lettered where the letter lies, of redriven and replayed what the copy was made from; only where one may see that topic.",
    }),
  detail: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional().meta({
    description:
      "Of redriven and replayed the job, as the message's header says; `isJobKnown` is false where the broker knows none of that id (any more).",
  }),
}).meta({ id: "TraceEvent" });

export const traceSchema = z.strictObject({
  traceId: z.string(),
  events: z.array(eventSchema),
  isTruncated: z.boolean().meta({
    description:
      "More may have happened since `indexedFrom` than is told: a bound was reached, what was just published has not been looked at, or something cannot be read now.",
  }),
  indexedFrom: z.int().nullable().meta({
    description:
      "Messages published before are not found, ms since the epoch; null: all that is stored are.",
  }),
  deliveriesFrom: z.int().meta({
    description: "Deliveries of before are not known, ms since the epoch.",
  }),
  nextCursor,
}).meta({ id: "Trace" });

/** The route of traces. */
export function traceRoutes({ broker, authorizer, limits }: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "GET",
      path: "/api/traces/{traceId}",
      operationId: "getTrace",
      tag: "Operations",
      summary: "What became of the messages that carried a trace, oldest first",
      description:
        "Messages carry a trace in their header `traceparent` (W3C Trace Context). What they went through is found in the logs: an index of the last messages says where they are, and is made anew after a restart. Deliveries are remembered in memory alone.",
      params: z.strictObject({ traceId }),
      query: pageQuery(limits),
      responses: { 200: { description: "A page of what happened", schema: traceSchema } },
      errors: ["OVERLOADED"],
      handler: async ({ params: { traceId }, query, access }) => {
        const topics = broker.topicNames().filter((name) =>
          authorizer.allows(access, "read", "topic", name)
        );
        const found = await broker.traces.find({ traceId, topics, asker: askerOf(access) });
        const sight = { authorizer, access };
        const told = found.events.filter((event) => isTold(event, sight));
        const { isTruncated, indexedFrom, deliveriesFrom } = found;
        const { entries, nextCursor } = pageOf(keyed(told), query, {
          keyOf: ({ key }) => key,
          isAfter: ({ key }, last) => key > last,
        });
        const events = entries.map(({ event }) => shown(event, sight));
        const rest = { isTruncated, indexedFrom, deliveriesFrom };
        return {
          data: { traceId, events, ...rest, ...(nextCursor === undefined ? {} : { nextCursor }) },
        };
      },
    }),
  ];
}

/** No tenant has a name with a space. */
function askerOf({ isAdministrator, tenant }: Access): string {
  return isAdministrator ? "administrators" : `tenant ${tenant}`;
}

interface Sight {
  readonly authorizer: Pick<Authorizer, "sees">;
  readonly access: Access;
}

/** Rights may have gone while it was looked for. */
function isTold(
  { topic, group }: TraceEvent,
  { authorizer, access }: Sight,
): boolean {
  return authorizer.sees(access, "topic", topic) &&
    (group === undefined || authorizer.sees(access, "group", group));
}

/** Events of one moment are told apart by their places in it. */
function keyed(
  events: readonly TraceEvent[],
): { readonly event: TraceEvent; readonly key: string }[] {
  let place = 0;
  return events.map((event, index) => {
    place = index > 0 && events[index - 1]!.at === event.at ? place + 1 : 0;
    const numbers = [Math.max(0, event.at), place];
    return { event, key: numbers.map((number) => `${number}`.padStart(DIGITS, "0")).join("/") };
  });
}

function shown({ related, ...event }: TraceEvent, { authorizer, access }: Sight) {
  const isSeen = related !== undefined && authorizer.sees(access, "topic", related.topic);
  return isSeen ? { ...event, related } : event;
}
