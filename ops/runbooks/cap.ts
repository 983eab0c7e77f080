// Owns how far runbooks that alerts start may go at most, whatever their thresholds say.
// Refuses to own what operators start: they say it themselves. Invariant: a cap never lets more than the threshold does.
import type { Runbooks } from "../../actors/runbook/types.ts";
import {
  type AlertRunbooks,
  RUNBOOK_MODES,
  type RunbookMode,
} from "../../actors/threshold/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";

/** off: alerts start none. */
export const RUNBOOK_CAPS = Object.freeze(["off", ...RUNBOOK_MODES] as const);
export type RunbookCap = (typeof RUNBOOK_CAPS)[number];

/** The lesser of both. */
export function cappedMode(mode: RunbookMode, cap: RunbookMode): RunbookMode {
  return RUNBOOK_MODES.indexOf(mode) <= RUNBOOK_MODES.indexOf(cap) ? mode : cap;
}

/** `runbooks` as alerts may start them; null: not at all. */
export function cappedRunbooks(runbooks: AlertRunbooks, cap: RunbookCap): AlertRunbooks | null {
  if (cap === "off") return null;
  return { start: (order) => runbooks.start({ ...order, mode: cappedMode(order.mode, cap) }) };
}

/** What alerts have where they start none: each says why. */
export const NO_RUNBOOKS: AlertRunbooks = Object.freeze({
  start: () => {
    const message = "runbookMode is off: alerts start no runbooks";
    return Promise.reject(new BrokerError("INVALID_EXECUTION_STATE", message));
  },
});

/** Ends what alerts have started before and may not go so far any more; what it did is taken back. */
export async function endBeyond(
  runbooks: Pick<Runbooks, "executions" | "abort">,
  cap: RunbookCap,
): Promise<void> {
  const most = RUNBOOK_CAPS.indexOf(cap);
  for (const { executionId, alertId, mode, endedAt } of await runbooks.executions()) {
    if (endedAt !== null || alertId === null || RUNBOOK_CAPS.indexOf(mode) <= most) continue;
    const reason = `runbookMode is ${cap}`;
    await runbooks.abort({ executionId, principal: "system:configuration", reason });
  }
}
