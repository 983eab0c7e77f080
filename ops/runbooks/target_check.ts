// Owns what the target of a runbook has to be: something that is there, and that may be changed so.
// Refuses to own the shape of requests (actors/runbook/requests.ts) and what each runbook says of its parameters.
// Invariant: no runbook changes an internal topic or group; of these only partitions are started again.
import type { ExecutionRequest, Runbook, RunbookTarget } from "../../actors/runbook/types.ts";
import { unknownTopic } from "../../actors/topic/unknown_topic.ts";
import { refuseInternalGroup, refuseInternalTopic } from "../../api/fields.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { RunbookPorts } from "./definition.ts";
import { partitionOf } from "./partition_actor_down.ts";

/** It changes nothing of a topic, so that it is for internal ones too: they go down as others do. */
const STARTS_AGAIN = "partition-actor-down";
/** Those that look at the whole cluster wherever they run: for every broker that was ever one of it. */
const OF_CLUSTER: ReadonlySet<string> = new Set(["broker-failure", "under-replicated"]);
/** Parameters that name a topic, and what is done to that is a change. */
const TOPIC_PARAMETER = "topic";

/** `runbook`, with its target looked at before an execution begins. */
export function withTargetCheck(ports: RunbookPorts, runbook: Runbook): Runbook {
  return {
    ...runbook,
    async check(request) {
      await runbook.check?.(request);
      const { name } = runbook.definition;
      if (request.target.type === "broker" && OF_CLUSTER.has(name)) {
        return checkMember(ports, request.target.name);
      }
      await checkTarget(ports, request, name !== STARTS_AGAIN);
    },
  };
}

async function checkTarget(
  { broker }: RunbookPorts,
  { target, parameters }: Pick<ExecutionRequest, "target" | "parameters">,
  changes: boolean,
): Promise<void> {
  const topic = parameters?.[TOPIC_PARAMETER];
  if (topic !== undefined) checkTopic(broker, topic, changes);
  switch (target.type) {
    case "group":
      if (changes) refuseInternalGroup(target.name);
      await broker.group({ type: "Describe", group: target.name });
      return;
    case "topic":
      return checkTopic(broker, target.name, changes);
    case "partition":
      return checkPartition(broker, target, changes);
    case "broker":
      if (target.name === broker.nodeId) return;
      throw new BrokerError("NOT_FOUND", `there is no broker ${target.name}`, {
        broker: target.name,
      });
    case "tenant":
    case "none":
      // A tenant is whoever has keys, a quota or topics: nobody keeps a list of them.
      return;
  }
}

function checkMember({ broker, cluster }: RunbookPorts, nodeId: string): void {
  if (nodeId === broker.nodeId || (cluster?.view.stateOf(nodeId) ?? null) !== null) return;
  throw new BrokerError("NOT_FOUND", `there is no broker ${nodeId}`, { broker: nodeId });
}

type Topics = Pick<RunbookPorts["broker"], "topic">;

function checkTopic(broker: Topics, name: string, changes: boolean): void {
  if (changes) refuseInternalTopic(name);
  if (broker.topic(name) === null) throw unknownTopic(name);
}

function checkPartition(broker: Topics, target: RunbookTarget, changes: boolean): void {
  // One name for each: what is held by an execution is known by it.
  if (!/^.+\/(0|[1-9]\d{0,5})$/.test(target.name)) {
    throw new BrokerError(
      "INVALID_REQUEST",
      `target ${target.name} is no topic/partition`,
      { target: target.name },
    );
  }
  const { topic, partition } = partitionOf(target);
  checkTopic(broker, topic, changes);
  if (partition < broker.topic(topic)!.partitionCount) return;
  const message = `topic ${topic} has no partition ${partition}`;
  throw new BrokerError("UNKNOWN_PARTITION", message, { topic, partition });
}
