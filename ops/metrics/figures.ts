// Owns the list of what the broker tells of itself as metrics: names, meanings, where each figure comes from.
// Refuses to own their text form (routes.ts) and counting (the actors do).
// Invariant: figures, never names of topics, groups or keys: the number of series does not grow with use.
import type { Broker } from "../../actors/broker.ts";
import type { QuotaGate } from "../../api/quota/gate.ts";
import type { DoorCounts } from "../door/counts.ts";

/** One read-out of the broker: everything that the figures are taken from. */
export interface ReadOut {
  readonly ready: boolean;
  readonly topics: number;
  readonly partitions: number;
  readonly groups: number;
  readonly producers: Awaited<ReturnType<Broker["producers"]["counters"]>>;
  readonly messageKeys: Awaited<ReturnType<Broker["messageKeyCounts"]>>;
  readonly requestKeys: Awaited<ReturnType<Broker["requestKeys"]["counts"]>>;
  readonly quota: ReturnType<QuotaGate["counts"]>;
  readonly door: DoorCounts;
}

/** Asks the broker for all of it at one time. */
export async function readOut(
  broker: Broker,
  { quota, door }: { quota: Pick<QuotaGate, "counts">; door: DoorCounts },
): Promise<ReadOut> {
  const [groups, producers, messageKeys, requestKeys] = await Promise.all([
    broker.groups(),
    broker.producers.counters(),
    broker.messageKeyCounts(),
    broker.requestKeys.counts(),
  ]);
  const topics = broker.topicNames().map((name) => broker.topic(name))
    .filter((topic) => topic !== null && !topic.internal);
  return {
    ready: broker.health().ready,
    topics: topics.length,
    partitions: topics.reduce((sum, topic) => sum + topic!.partitionCount, 0),
    groups: groups.length,
    producers,
    messageKeys,
    requestKeys,
    quota: quota.counts(),
    door,
  };
}

export interface Figure {
  /** Prometheus name; counters end in `_total`. */
  readonly name: string;
  readonly help: string;
  readonly value: (of: ReadOut) => number;
}

export const FIGURES: readonly Figure[] = [
  figure("ready", "1 when the broker can serve", ({ ready }) => ready ? 1 : 0),
  figure("topics", "topics that users made", ({ topics }) => topics),
  figure("partitions", "partitions of these topics", ({ partitions }) => partitions),
  figure("groups", "consumer groups", ({ groups }) => groups),
  figure("connections", "connections of clients, WebSockets too", ({ door }) => door.connections),
  figure("websockets", "connections that are WebSockets", ({ door }) => door.sockets),
  figure(
    "connections_ended_total",
    "connections that were ended for a bound: slow, idle, too many, or a message without end",
    ({ door }) => door.ended,
  ),
  figure(
    "quota_refused_total",
    "requests refused for a quota of a tenant or topic",
    ({ quota }) => quota.refused,
  ),
  figure(
    "quota_refusals_held",
    "refusals for a quota that are yet to be told, late",
    ({ quota }) => quota.toldLate,
  ),
  figure("producers_held", "idempotent producers remembered", ({ producers }) => producers.held),
  figure(
    "producer_duplicate_batches_total",
    "batches of idempotent producers that were repeats",
    ({ producers }) => producers.duplicatesSuppressed,
  ),
  figure(
    "producer_out_of_order_total",
    "appends refused for a gap in the sequence",
    ({ producers }) => producers.outOfOrder,
  ),
  figure(
    "producer_fenced_total",
    "appends refused for an older producer epoch",
    ({ producers }) => producers.fenced,
  ),
  figure(
    "producers_evicted_total",
    "producers forgotten for their age or number",
    ({ producers }) => producers.evicted,
  ),
  figure(
    "message_keys",
    "idempotency keys of messages known",
    ({ messageKeys }) => messageKeys.keys,
  ),
  figure(
    "message_keys_pending",
    "idempotency keys whose append is under way",
    ({ messageKeys }) => messageKeys.pending,
  ),
  figure(
    "message_key_duplicates_total",
    "messages not appended since their key was known",
    ({ messageKeys }) => messageKeys.duplicates,
  ),
  figure(
    "message_keys_expired_total",
    "message keys whose time was over",
    ({ messageKeys }) => messageKeys.expired,
  ),
  figure(
    "message_keys_evicted_total",
    "message keys forgotten early since there were too many",
    ({ messageKeys }) => messageKeys.evicted,
  ),
  figure(
    "request_keys",
    "requests known by their Idempotency-Key",
    ({ requestKeys }) => requestKeys.keys,
  ),
  figure(
    "request_keys_running",
    "such requests that are under way",
    ({ requestKeys }) => requestKeys.running,
  ),
  figure(
    "request_key_replays_total",
    "requests answered with their first response",
    ({ requestKeys }) => requestKeys.replayed,
  ),
  figure(
    "request_key_reuses_total",
    "requests refused since the key came with another body",
    ({ requestKeys }) => requestKeys.reused,
  ),
  figure(
    "request_key_conflicts_total",
    "requests refused since the first was under way",
    ({ requestKeys }) => requestKeys.inUse,
  ),
  figure(
    "request_keys_resumed_total",
    "requests carried on after an attempt without an answer",
    ({ requestKeys }) => requestKeys.resumed,
  ),
  figure(
    "request_keys_expired_total",
    "request keys whose time was over",
    ({ requestKeys }) => requestKeys.expired,
  ),
  figure(
    "request_keys_evicted_total",
    "request keys forgotten early since there were too many",
    ({ requestKeys }) => requestKeys.evicted,
  ),
];

function figure(name: string, help: string, value: Figure["value"]): Figure {
  return { name: `waybill_${name}`, help, value };
}
