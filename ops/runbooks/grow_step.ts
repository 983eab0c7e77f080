// Owns the step that gives a topic more partitions, where somebody has asked for that.
// Refuses to own how many there should be (the runbooks recommend that).
// Invariant: it never happens without a person's word (the parameter): keys move, and partitions never become fewer.
import type { ParameterDefinition, StepContext } from "../../actors/runbook/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { done, MINUTE_MS, type RunbookPorts, type Step } from "./definition.ts";

export const PARTITIONS_PARAMETER: ParameterDefinition = Object.freeze({
  name: "partitions",
  describes:
    "Gives the topic so many partitions: new messages of a key may go to another one than its old ones, and it " +
    "cannot be taken back. Left out: none are added.",
  required: false,
});

/** How many partitions were asked for; null: nobody has. Throws INVALID_REQUEST. */
export function wantedPartitions(
  { parameters: { partitions } }: Pick<StepContext, "parameters">,
): number | null {
  if (partitions === undefined) return null;
  if (/^[1-9]\d{0,5}$/.test(partitions)) return Number(partitions);
  throw new BrokerError("INVALID_REQUEST", `partitions is no count: ${partitions}`);
}

/** Grows `topicOf`; done twice it comes to the same. */
export function growStep(
  { broker }: RunbookPorts,
  topicOf: (context: StepContext) => string,
): Step {
  return {
    name: "add-partitions",
    title: "Add the partitions that were asked for",
    kind: "action",
    timeoutMs: MINUTE_MS,
    work: {
      async run(context) {
        const partitions = wantedPartitions(context);
        if (partitions === null) return done("nobody has asked for more partitions");
        const topic = topicOf(context);
        const { partitionCount = 0 } = broker.topic(topic) ?? {};
        if (partitionCount < partitions) await broker.updateTopic(topic, { partitions });
        return done(
          partitionCount < partitions
            ? `topic ${topic} has ${partitions} partitions instead of ${partitionCount}`
            : `topic ${topic} has ${partitionCount} partitions`,
        );
      },
      plan: (context) => {
        const partitions = wantedPartitions(context);
        return Promise.resolve(
          partitions === null
            ? "would add no partitions: nobody has asked for any"
            : `would give topic ${topicOf(context)} ${partitions} partitions`,
        );
      },
    },
  };
}
