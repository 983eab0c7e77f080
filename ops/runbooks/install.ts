// Owns which runbooks a broker has, and handing them over to it and to its alerts.
// Refuses to own what any of them does. Invariant: every runbook that a threshold names by default is here.
import type { Runbook } from "../../actors/runbook/types.ts";
import { brokerFailure } from "./broker_failure.ts";
import { cappedRunbooks, endBeyond, NO_RUNBOOKS, type RunbookCap } from "./cap.ts";
import { consumerBug } from "./consumer_bug.ts";
import { deadLetterFlood } from "./dead_letter_flood.ts";
import { siteFailure } from "./declared.ts";
import type { RunbookPorts } from "./definition.ts";
import { hotPartition } from "./hot_partition.ts";
import { lagGrowing } from "./lag_growing.ts";
import { metadataFailover } from "./metadata_failover.ts";
import { mistakenCommit } from "./mistaken_commit.ts";
import { partitionActorDown } from "./partition_actor_down.ts";
import { retryStorm } from "./retry_storm.ts";
import { storageOverBudget } from "./storage_over_budget.ts";
import { withTargetCheck } from "./target_check.ts";
import { tenantOverQuota } from "./tenant_over_quota.ts";
import { underReplicated } from "./under_replicated.ts";
import { withdrawWhenResolved } from "./withdrawal.ts";

/** Every runbook there is. */
export function allRunbooks(ports: RunbookPorts): readonly Runbook[] {
  const all = [
    consumerBug(ports),
    mistakenCommit(ports),
    deadLetterFlood(ports),
    retryStorm(ports),
    partitionActorDown(ports),
    storageOverBudget(ports),
    lagGrowing(ports),
    hotPartition(ports),
    tenantOverQuota(ports),
    brokerFailure(ports),
    underReplicated(ports),
    metadataFailover(ports),
    siteFailure(),
  ];
  return all.map((runbook) => withTargetCheck(ports, runbook));
}

/**
 * From now on executions are carried out, and alerts start theirs, as far as `cap` lets them go: those of before that go
 * further are ended first.
 */
export async function installRunbooks(
  ports: RunbookPorts,
  { cap, report }: {
    readonly cap: RunbookCap;
    report(event: { level: "warning"; message: string; error: unknown }): void;
  },
): Promise<void> {
  const { alerts, runbooks } = ports.broker;
  try {
    await endBeyond(runbooks, cap);
  } catch (error) {
    const message = `executions that go further than ${cap} could not be ended`;
    report({ level: "warning", message, error });
  }
  try {
    await withdrawWhenResolved({ alerts, runbooks, report });
  } catch (error) {
    const message = "executions that wait for approval could not be looked through";
    report({ level: "warning", message, error });
  }
  runbooks.use(allRunbooks(ports));
  alerts.useRunbooks(cappedRunbooks(runbooks, cap) ?? NO_RUNBOOKS);
}
