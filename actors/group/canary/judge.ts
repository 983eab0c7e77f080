// Owns when a canary is worse than the rest.
// Refuses to own counting (state.ts, observe.ts) and what follows (withdraw.ts). Pure.
// Invariant: no verdict from fewer observations than the rules ask of each side, nor from a difference that chance makes.
import type { BothSides } from "./state.ts";
import type { CanaryRules, CanaryVerdict, SideCounts, SideRates } from "./types.ts";

/**
 * The one-sided two-proportion z-test must reject "the canary fails no more often" at p < 0.001. So strict, since it is
 * asked again with every commit: over a trial of a day, a canary that is as good as the rest should stay.
 */
const MIN_Z = 3.09;
/** Shares of whole numbers that are equal on paper differ by less in doubles. */
const ROUNDING = 1e-9;

export function ratesOf(counts: SideCounts): SideRates {
  return {
    ...counts,
    nackRate: rateOf(counts.nacked, counts),
    deadLetterRate: rateOf(counts.deadLettered, counts),
  };
}

/** What died may have been answered before the window. */
function rateOf(failed: number, { answered }: SideCounts): number | null {
  return answered === 0 ? null : Math.min(1, failed / answered);
}

/** Compares what both sides did under `rules`. */
export function judge({ canary, rest }: BothSides, rules: CanaryRules): CanaryVerdict {
  const lost = lostSessions({ canary, rest }, rules);
  if (lost !== null) return lost;
  const { minObservations } = rules;
  const fewest = Math.min(canary.answered, rest.answered);
  if (fewest < minObservations || fewest === 0) {
    const side = canary.answered <= rest.answered ? "the canary" : "the rest";
    const text = `${side} has answered ${fewest} messages in the window, ${minObservations} ` +
      "of each side are needed";
    return { state: "undecided", measure: null, text };
  }
  for (const measure of ["nacks", "dead letters"] as const) {
    const failed = measure === "nacks" ? "nacked" : "deadLettered";
    const a = { failed: Math.min(canary[failed], canary.answered), of: canary.answered };
    const b = { failed: Math.min(rest[failed], rest.answered), of: rest.answered };
    if (!isWorse(a, b, rules)) continue;
    const text = `${measure}: ${share(a)} of the canary's messages, ${share(b)} of the rest's`;
    return { state: "worse", measure, text };
  }
  return { state: "ok", measure: null, text: "no worse than the rest" };
}

interface Proportion {
  readonly failed: number;
  readonly of: number;
}

function isWorse(canary: Proportion, rest: Proportion, { factor, margin }: CanaryRules): boolean {
  const a = canary.failed / canary.of;
  const b = rest.failed / rest.of;
  if (a <= b) return false;
  const far = a >= factor * b - ROUNDING && a - b >= margin - ROUNDING;
  return far && zOf(canary, rest) >= MIN_Z;
}

/** How many standard errors the canary's share is above the rest's, were both of one population. */
function zOf(canary: Proportion, rest: Proportion): number {
  const pooled = (canary.failed + rest.failed) / (canary.of + rest.of);
  const error = Math.sqrt(pooled * (1 - pooled) * (1 / canary.of + 1 / rest.of));
  const difference = canary.failed / canary.of - rest.failed / rest.of;
  return error === 0 ? 0 : difference / error;
}

/** A version that crashes before it answers anything shows in nothing else. */
function lostSessions(
  { canary, rest }: BothSides,
  { maxLostSessions, factor }: CanaryRules,
): CanaryVerdict | null {
  const isMany = maxLostSessions > 0 && canary.lostSessions >= maxLostSessions;
  if (!isMany || canary.lostSessions <= factor * rest.lostSessions) return null;
  const text = `lost sessions: ${canary.lostSessions} of the canary in the window, ` +
    `${rest.lostSessions} of the rest`;
  return { state: "worse", measure: "lost sessions", text };
}

function share({ failed, of }: Proportion): string {
  return `${Number((100 * failed / of).toFixed(2))}% (${failed} of ${of})`;
}
