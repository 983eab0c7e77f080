// Owns what the threshold of withdrawn canaries makes of what groups tell.
// Refuses to own any expectation. Invariant: it goes the way that samples go.
import type { CanaryActivity } from "../../actors/measurement/types.ts";
import { readingsOf } from "../../actors/threshold/signals.ts";
import { sampleOf } from "./sample_run.ts";

export function withdrawnReadings(canaries: readonly CanaryActivity[]) {
  const context = { nodeId: "1", windowSeconds: 0, signals: { audit: null } };
  return readingsOf("canary-withdrawn", [sampleOf({ canaries })], context);
}
