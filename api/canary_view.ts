// Owns how a group's canary looks to users: its schema, and what of it is told to whom.
// Refuses to own its routes (routes/canary.ts) and what it does (actors/group/canary).
// Invariant: a partition of a topic that one may not see is not named.
import { z } from "zod";
import type { CanaryDescription } from "../actors/group/canary/types.ts";
import type { TopicSight } from "./auth/topic_sight.ts";
import { label } from "./fields.ts";

export const version = label.meta({
  description: "Of the program that the member runs, for canaries.",
  examples: ["2.1.0"],
});

const ms = z.int().meta({ description: "ms since the epoch" });
const rate = z.number().nullable().meta({ description: "A share of 1; null: nothing answered." });

const ratesSchema = z.strictObject({
  answered: z.int().meta({
    description:
      "Messages whose first delivery was committed past or nacked. Gaps in offsets count.",
  }),
  nacked: z.int().meta({ description: "Of these, those that were nacked." }),
  deadLettered: z.int(),
  lostSessions: z.int().meta({ description: "Sessions that ended without a leave." }),
  nackRate: rate,
  deadLetterRate: rate,
});

/** What a canary is, beside its group. */
export const canaryFields = {
  version: z.string(),
  percent: z.number(),
  by: z.literal("partitions"),
  state: z.enum(["running", "withdrawn", "promoted"]).meta({
    description: "withdrawn: it was worse than the rest, and members of this version get nothing.",
  }),
  windowSeconds: z.number(),
  minObservations: z.int(),
  factor: z.number(),
  margin: z.number(),
  maxLostSessions: z.int(),
  since: ms.meta({ description: "When the trial of this version began, ms since the epoch." }),
  changedAt: ms,
  changedBy: z.string(),
  reason: z.string().nullable().meta({ description: "Of the last change." }),
  members: z.int().meta({ description: "How many have this version." }),
  partitions: z.array(z.strictObject({ topic: z.string(), partition: z.int() })).meta({
    description: "Those of the canary, once those that move have moved.",
  }),
  ofPartitions: z.int().meta({ description: "Of so many of the group." }),
  note: z.string().nullable().meta({ description: "What is not as `percent` says, and why." }),
  canary: ratesSchema,
  rest: ratesSchema,
  verdict: z.strictObject({
    state: z.enum(["undecided", "ok", "worse"]),
    measure: z.enum(["nacks", "dead letters", "lost sessions"]).nullable(),
    text: z.string(),
  }),
};

export const canarySchema = z.strictObject(canaryFields).meta({
  id: "Canary",
  description: "Rates are over the window; at the end of the trial, as they were then.",
});

/** The canary as far as its topics may be told. */
export function shownCanary(
  canary: CanaryDescription,
  isSeen: TopicSight,
): z.infer<typeof canarySchema> {
  const { rules: { windowMs, ...rules }, partitions, ...rest } = canary;
  return {
    ...rest,
    windowSeconds: windowMs / 1_000,
    ...rules,
    partitions: partitions.filter(isSeen).map(({ topic, partition }) => ({ topic, partition })),
  };
}
