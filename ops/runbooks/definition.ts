// Owns the few words that runbooks are written in, and what their steps may use.
// Refuses to own any runbook. Invariant: a step and what carries it out are written in one place, and share their name.
//
// Which runbook a threshold starts by default, and in which mode (actors/threshold/defaults.ts; changed at run time with
// PUT /api/thresholds/{name}, all settings at once; capped by the configuration key runbookMode: off starts none):
//   publish-failure-rate  partition-actor-down  auto     target: the broker
//   broker-problem        partition-actor-down  auto     target: partition `topic/0`, or the broker
//   consumer-lag          lag-growing           auto     target: the group; only looks and measures
//   stalled-consumer      consumer-bug          approve  target: the group
//   dead-letter-rate      dead-letter-flood     auto     target: the broker; pauses the group, goes on when its members are
//                                                        others than before, or somebody approves the step `confirm`
//                                                        (where members say their version: all of them another)
//   retry-rate            retry-storm           auto     target: the broker; longer waits until it is calm, then as before
//   hot-partition         hot-partition         auto     target: the partition; only looks, in a cluster moves its leader
//   quota-breaches        tenant-over-quota     approve  target: the tenant
//   storage-budget, disk-usage  storage-over-budget  approve  target: the broker
//   under-replicated      under-replicated      auto     target: the broker that leads; waits, and copies what brokers
//                                                        held that stay away
//   replication-delay, rebalance-rate, disk-slow, audit-broken  none
// `mistaken-commit` is started by people: no figure tells a mistake from a wish.
// To see it soon: PUT /api/thresholds/broker-problem { limit: 0, forSeconds: 1, clearForSeconds: 1, severity: "P1",
// enabled: true, runbook: "partition-actor-down", mode: "auto" }; what is left out is as by default, but
// for clearLimit, which is the limit then. An execution is found by its alert: GET /api/runbooks/executions?alertId=…
import type { Broker } from "../../actors/broker.ts";
import type { ClusterAdministration } from "../../actors/cluster/administration.ts";
import type { ClusterMetadata } from "../../actors/cluster/view.ts";
import type { Samples } from "../../actors/measurement/types.ts";
import type {
  Runbook,
  RunbookDefinition,
  StepContext,
  StepDefinition,
  StepResult,
  StepWork,
} from "../../actors/runbook/types.ts";
import type { QuotaUsage } from "../../api/quota/gate.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Clock, Timers } from "../../storage/ports.ts";

/** What runbooks act with. */
export interface RunbookPorts {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly timers: Timers;
  /** What the broker has measured of itself. */
  readonly samples: Samples;
  /** What a tenant has used of its quota of late. */
  quotaUsage(tenant: string): QuotaUsage;
  /** Left out: the broker is alone. */
  readonly cluster?: ClusterPorts;
}

/** What runbooks see and move of a cluster. */
export interface ClusterPorts {
  readonly view: Pick<
    ClusterMetadata,
    | "nodeId"
    | "hasLease"
    | "online"
    | "members"
    | "stateOf"
    | "controller"
    | "partition"
    | "refresh"
  >;
  readonly administration: Pick<
    ClusterAdministration,
    "placements" | "brokers" | "lags" | "reassign" | "moves" | "cancel"
  >;
  readonly metadata: Pick<MetadataStore, "get" | "commit">;
  /** High watermark of the replica that this broker holds, as it knows it; null: it holds none, or it is not open. */
  watermarkHere(at: { readonly topicId: string; readonly partition: number }): number | null;
}

/** Of a broker in a cluster; a runbook that asks for it is not available on a broker that is alone. */
export function clusterOf({ cluster }: RunbookPorts): ClusterPorts {
  if (cluster !== undefined) return cluster;
  throw new BrokerError("INVALID_REQUEST", "this broker is alone");
}

export const MINUTE_MS = 60_000;

/** A step, and what carries it out. `work.undo` is there where `undo` says what it does. */
export interface Step extends StepDefinition {
  readonly work: StepWork;
}

/** Throws INVALID_REQUEST for parameters that say nothing that can be done: known before anything begins. */
export type ParameterCheck = (given: Pick<StepContext, "parameters">) => unknown;

/** A runbook of `steps`. What is left out: no parameters, ten minutes of cooldown, nothing promised. */
export function runbook(
  described: Pick<RunbookDefinition, "name" | "title" | "describes" | "targetKinds">,
  steps: readonly Step[],
  { onlyLooks = false, check, ...more }:
    & Partial<RunbookDefinition>
    & Pick<Runbook, "onlyLooks">
    & { readonly check?: ParameterCheck } = {},
): Runbook {
  for (const { name, undo, work } of steps) {
    if ((undo === undefined) !== (work.undo === undefined)) {
      throw new Error(`step ${name} of ${described.name} does not say what takes it back`);
    }
  }
  return {
    definition: Object.freeze({
      parameters: [],
      cooldownMs: 10 * MINUTE_MS,
      targets: { rtoMs: null, rpoMs: null },
      available: true,
      ...described,
      ...more,
      steps: steps.map(({ work: _, ...step }) => step),
    }),
    onlyLooks,
    ...(check === undefined ? {} : {
      check: ({ parameters = {} }) => Promise.resolve().then(() => void check({ parameters })),
    }),
    work: Object.fromEntries(steps.map(({ name, work }) => [name, work])),
  };
}

export function done(detail: string, more: Partial<StepResult> = {}): StepResult {
  return { outcome: "done", detail, ...more };
}

export function again(detail: string): StepResult {
  return { outcome: "again", detail };
}
