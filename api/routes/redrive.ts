// Owns the route that sends dead letters back to where they came from.
// Refuses to own listing them, and steering the job (replays.ts).
// Invariant: a letter that was redriven is not redriven again unless the request says so.
import { z } from "zod";
import type { Broker } from "../../actors/broker.ts";
import {
  DEAD_LETTER_PREFIX,
  deadLetterTopic,
} from "../../actors/group/retry/dead_letter_record.ts";
import type { LetterFilter } from "../../actors/job/types.ts";
import { groupNeed, topicNeed } from "../auth/access_entry.ts";
import type { Need } from "../auth/authorizer.ts";
import {
  groupName,
  offset,
  partition,
  reason,
  refuseInternalGroup,
  refuseInternalTopic,
  topicName,
} from "../fields.ts";
import {
  JOB_ERRORS,
  place,
  ratePerSecond,
  REPEAT_HEADER,
  REPEATED_HEADER,
  submitJob,
} from "../job_request.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";
import { jobSchema } from "./replays.ts";

const MAX_FILTER_CHARS = 1_000;

const filterSchema = z.strictObject({
  code: z.string().min(1).max(100).optional(),
  reason: z.string().min(1).max(MAX_FILTER_CHARS).optional()
    .meta({ description: "Text that the reason contains." }),
  group: groupName.optional().meta({ description: "Group in which the messages failed." }),
  partition: partition.optional().meta({ description: "Their partition." }),
  offset: offset.optional().meta({ description: "Their offset in it." }),
}).meta({ id: "DeadLetterFilter", description: "Every field given must match." });

type Filter = z.output<typeof filterSchema>;

const redriveSchema = z.strictObject({
  topic: topicName.meta({ description: "The topic, or its dead letter topic `dlq.<topic>`." }),
  partition: partition.optional()
    .meta({ description: "One partition of the dead letter topic; left out: all." }),
  group: groupName.optional()
    .meta({
      description: "Only the dead letters of this group, and only to it: nothing is published.",
    }),
  from: place.prefault("earliest").meta({
    description: "First dead letter, by its offset or time.",
  }),
  to: place.prefault("latest").meta({ description: "The dead letter behind the last one." }),
  filter: filterSchema.prefault({}),
  includeRedriven: z.boolean().default(false)
    .meta({ description: "Also those that a job has redriven before." }),
  ratePerSecond: ratePerSecond.optional(),
  dryRun: z.boolean().default(false).meta({ description: "Only counts." }),
  reason,
}).meta({ id: "NewRedrive" });

/** The route of redrives. */
export function redriveRoutes(dependencies: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: "/api/dlq:redrive",
      operationId: "redriveDeadLetters",
      tag: "Retries and dead letters",
      summary: "Send dead letters back to where they came from, or to their group alone",
      body: redriveSchema,
      bodyExample: { topic: "orders", filter: { code: "TIMEOUT" }, reason: "the database is back" },
      requestHeaders: REPEAT_HEADER,
      responses: {
        202: { description: "The job", schema: jobSchema, headers: REPEATED_HEADER },
      },
      errors: JOB_ERRORS,
      handler: (context) => {
        const { body, access } = context;
        const sees = (name: string) => dependencies.authorizer.sees(access, "topic", name);
        const topic = meantTopic(dependencies.broker, body.topic, sees);
        redriveNeeds(dependencies.broker, { ...body, topic }).forEach(context.authorize);
        refuseInternalTopic(body.topic);
        if (body.group !== undefined) refuseInternalGroup(body.group);
        const redrive = {
          ...body,
          topic,
          kind: "redrive" as const,
          partition: body.partition ?? null,
          group: body.group ?? null,
          filter: given(body.filter),
          ratePerSecond: body.ratePerSecond ?? null,
        };
        return submitJob(context, redrive, dependencies);
      },
    }),
  ];
}

/**
 * A topic of dead letters may have one of its own, and is meant as their origin then; to who may not see that one it is as
 * if it were not there.
 */
function meantTopic(
  broker: Pick<Broker, "topic">,
  topic: string,
  sees: (topic: string) => boolean,
): string {
  const letters = deadLetterTopic(topic);
  if (!topic.startsWith(DEAD_LETTER_PREFIX) || sees(letters) || broker.topic(letters) === null) {
    return topic;
  }
  const origin = topic.slice(DEAD_LETTER_PREFIX.length);
  return deadLetterTopic(origin) === topic ? origin : topic;
}

/** By names alone, so that a refusal does not tell whether there are dead letters; as the job finds them. */
function redriveNeeds(
  broker: Pick<Broker, "topic">,
  { topic, group }: { readonly topic: string; readonly group?: string | undefined },
): Need[] {
  const isNamed = topic.startsWith(DEAD_LETTER_PREFIX) &&
    broker.topic(deadLetterTopic(topic)) === null;
  const [letters, origin] = isNamed
    ? [topic, topic.slice(DEAD_LETTER_PREFIX.length)]
    : [deadLetterTopic(topic), topic];
  return [
    topicNeed("read", letters),
    group === undefined ? topicNeed("write", origin) : groupNeed("alter", group),
  ];
}

/** Without what was left out: the filter is kept and shown as it was given. */
function given({ code, reason, group, partition, offset }: Filter): LetterFilter {
  return {
    ...(code === undefined ? {} : { code }),
    ...(reason === undefined ? {} : { reason }),
    ...(group === undefined ? {} : { group }),
    ...(partition === undefined ? {} : { partition }),
    ...(offset === undefined ? {} : { offset }),
  };
}
