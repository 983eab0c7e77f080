// Owns the state of a group's canary, and the window over which both sides are counted.
// Refuses to own what is counted (observe.ts) and what follows from it (judge.ts).
// Invariant: plain JSON, never changed in place; counts never go into the past, whatever the wall clock does.
import { emptyTable, type Table } from "../table.ts";
import type { CanaryRules, CanaryStatus, SideCounts } from "./types.ts";

/** The window is as many buckets wide; what happened leaves it a bucket at a time. */
export const WINDOW_BUCKETS = 10;

export const NO_COUNTS: SideCounts = Object.freeze({
  answered: 0,
  nacked: 0,
  deadLettered: 0,
  lostSessions: 0,
});

export type Side = "canary" | "rest";

export interface BothSides {
  readonly canary: SideCounts;
  readonly rest: SideCounts;
}

export interface Bucket extends BothSides {
  /** Wall ms. */
  readonly startAt: number;
}

export interface CanaryState {
  readonly version: string;
  readonly percent: number;
  readonly rules: CanaryRules;
  readonly status: CanaryStatus;
  readonly since: number;
  readonly changedAt: number;
  readonly changedBy: string;
  readonly reason: string | null;
  /** Oldest first. */
  readonly window: readonly Bucket[];
  /** By `topic/partition`: how far a member has answered beyond what is committed, by its nacks. */
  readonly ahead: Table<Answered>;
  /** What both had done when it was taken out or promoted; null while it runs. */
  readonly final: BothSides | null;
}

/** A canary of which nothing is observed yet. */
export function freshCanary(
  canary: Pick<CanaryState, "version" | "percent" | "rules" | "reason"> & {
    readonly at: number;
    readonly by: string;
  },
): CanaryState {
  const { at, by, ...set } = canary;
  return {
    ...set,
    status: "running",
    since: at,
    changedAt: at,
    changedBy: by,
    window: [],
    ahead: emptyTable(),
    final: null,
  };
}

/** Every message below `to` counts as answered. */
export interface Answered {
  readonly to: number;
  readonly memberId: string;
}

/** With more counts on one side, at wall time `at`; a clock that went back counts as standing still. */
export function withCounts(
  { window, rules: { windowMs } }: CanaryState,
  { at, side, counts }: { at: number; side: Side; counts: Partial<SideCounts> },
): readonly Bucket[] {
  const last = window.at(-1);
  if (last === undefined || at >= last.startAt + windowMs / WINDOW_BUCKETS) {
    const kept = window.filter(({ startAt }) => startAt > at - windowMs);
    const bucket: Bucket = { startAt: at, canary: NO_COUNTS, rest: NO_COUNTS };
    return [...kept, { ...bucket, [side]: sumOf(NO_COUNTS, counts) }];
  }
  return window.with(-1, { ...last, [side]: sumOf(last[side], counts) });
}

/** What the window holds at wall time `now`. */
export function countsAt({ window, rules: { windowMs } }: CanaryState, now: number): BothSides {
  const latest = Math.max(now, window.at(-1)?.startAt ?? now);
  let canary = NO_COUNTS;
  let rest = NO_COUNTS;
  for (const bucket of window) {
    if (bucket.startAt <= latest - windowMs) continue;
    canary = sumOf(canary, bucket.canary);
    rest = sumOf(rest, bucket.rest);
  }
  return { canary, rest };
}

export function sumOf(a: SideCounts, b: Partial<SideCounts>): SideCounts {
  return {
    answered: a.answered + (b.answered ?? 0),
    nacked: a.nacked + (b.nacked ?? 0),
    deadLettered: a.deadLettered + (b.deadLettered ?? 0),
    lostSessions: a.lostSessions + (b.lostSessions ?? 0),
  };
}

/** Which side a member is on. */
export function sideOf(
  canary: Pick<CanaryState, "version">,
  member: { readonly version?: string },
): Side {
  return member.version === canary.version ? "canary" : "rest";
}

/** Nothing may be given to this member: it has a version that was taken out. */
export function isHeldBack(
  canary: Pick<CanaryState, "version" | "status"> | undefined,
  member: { readonly version?: string },
): boolean {
  return canary?.status === "withdrawn" && member.version === canary.version;
}

/** A member that comes back with another version may have changed sides. */
export function changesSides(
  canary: Pick<CanaryState, "version" | "status"> | undefined,
  before: { readonly version?: string },
  after: { readonly version?: string },
): boolean {
  if (canary === undefined || canary.status === "promoted") return false;
  return sideOf(canary, before) !== sideOf(canary, after);
}
