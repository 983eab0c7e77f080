// Owns how executions, their steps and recovery times are told: tones and words.
// Refuses to own drawing them. Invariant: pure; what was not measured is not told as 0.
import type { Execution } from "../../answers.ts";
import type { Tone } from "../../tone.ts";
import { duration } from "../../format.ts";

const EXECUTION_TONES: Readonly<Record<Execution["state"], Tone>> = {
  running: "info",
  waiting: "warn",
  verified: "ok",
  partial: "bad",
  aborted: "quiet",
};

/** Of how it stands; one that was only to look has left nothing undone. */
export function executionTone({ state, mode }: Pick<Execution, "state" | "mode">): Tone {
  return state === "partial" && mode === "observe" ? "quiet" : EXECUTION_TONES[state];
}

export const STEP_TONES: Readonly<Record<Execution["steps"][number]["state"], Tone>> = {
  pending: "quiet",
  running: "info",
  waiting: "warn",
  done: "ok",
  skipped: "quiet",
  failed: "bad",
  undone: "warn",
};

export function targetName({ target }: Pick<Execution, "target">): string {
  return target.name === "" ? target.type : `${target.type} ${target.name}`;
}

/** `12 s (at most 2 min)`. */
export function recoveryText(measuredMs: number | null, targetMs: number | null): string {
  const measured = measuredMs === null ? "not measured" : duration(measuredMs / 1_000);
  return targetMs === null ? measured : `${measured} (at most ${duration(targetMs / 1_000)})`;
}

/** Whether the target was kept; undefined where either is not known. */
export function isKept(measuredMs: number | null, targetMs: number | null): boolean | undefined {
  return measuredMs === null || targetMs === null ? undefined : measuredMs <= targetMs;
}

export function isUnderWay({ state }: Pick<Execution, "state">): boolean {
  return state === "running" || state === "waiting";
}
