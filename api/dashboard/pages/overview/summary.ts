// Owns what the first page makes of an overview: sums of the last minutes, rates, what stands first.
// Refuses to own measuring and drawing.
// Invariant: pure; a rate of nothing is null, not 0.
import type { Alert } from "../../../../actors/threshold/types.ts";
import type { OverviewNow, OverviewPoint } from "../../../overview/overview.ts";
import type { OverviewState } from "../../live/overview_state.ts";

type Lag = OverviewNow["lags"][number];
type Group = OverviewNow["groups"][number];

/** Worst first; what a forgotten group leaves unread stands below what others are behind with. */
const STATUS_RANKS: Readonly<Record<Lag["status"] | "forgotten", number>> = {
  stalled: 0,
  unassigned: 1,
  lagging: 2,
  forgotten: 3,
  ok: 4,
  idle: 5,
};

export interface Trouble extends Group {
  readonly trouble: NonNullable<Group["trouble"]>;
  /** More is left unread than minutes ago. */
  readonly isGrowing: boolean;
  /** Nobody has read it for long, and nothing is added: somebody has left it behind. */
  readonly isForgotten: boolean;
}

/** What is known of groups: how they stand, and how their lags went. */
export interface GroupsSeen {
  readonly now: Pick<OverviewNow, "groups" | "point"> | null;
  readonly trends: Readonly<Record<string, readonly number[]>>;
  /** Groups that alerts fire for, where they are known: whatever is told of them, none is forgotten. */
  readonly alerted?: ReadonlySet<string>;
}

/** What the first page tells, with what the alerts on it are about. */
export type OverviewSeen = OverviewState & Pick<GroupsSeen, "alerted">;

/** The groups that firing alerts are about. */
export function groupsAlerted(
  alerts: readonly Pick<Alert, "state" | "resource">[],
): ReadonlySet<string> {
  return new Set(
    alerts.flatMap(({ state, resource: { labels: { group } } }) =>
      state === "firing" && group !== undefined ? [group] : []
    ),
  );
}

/** Without a reader for so long, a group whose lag does not grow is forgotten. */
const FORGOTTEN_MS = 10 * 60_000;

/**
 * Groups in trouble: those that are stopped first, then those whose lag grows, then by its size; forgotten ones last.
 * Sizes count in powers of two, so that two groups that are about as bad do not change places all the time.
 */
export function groupsInTrouble({ now, trends, alerted }: GroupsSeen): Trouble[] {
  if (now === null) return [];
  const inTrouble = now.groups.flatMap((group) => {
    const { trouble } = group;
    if (trouble === null) return [];
    const isGrowing = grows(Object.hasOwn(trends, group.group) ? trends[group.group]! : []);
    const isUnread = trouble.kind === "no-members" || trouble.kind === "unassigned";
    const isForgotten = isUnread && !isGrowing && alerted?.has(group.group) !== true &&
      now.point.at - trouble.since >= FORGOTTEN_MS;
    return [{ ...group, trouble, isGrowing, isForgotten }];
  });
  return inTrouble.toSorted((a, b) =>
    troubleRank(a) - troubleRank(b) || Number(b.isGrowing) - Number(a.isGrowing) ||
    sizeOf(b.totalLag) - sizeOf(a.totalLag) ||
    behindSteps(b.maxLagSeconds) - behindSteps(a.maxLagSeconds) || b.totalLag - a.totalLag ||
    (a.group < b.group ? -1 : 1)
  );
}

function troubleRank(one: Trouble): number {
  return one.isForgotten ? 2 : isStopped(one) ? 0 : 1;
}

function sizeOf(lag: number): number {
  return Math.floor(Math.log2(lag + 1));
}

/** Nothing goes on there although somebody is meant to read. */
export function isStopped({ trouble, isForgotten }: Trouble): boolean {
  return (trouble.kind === "stalled" || trouble.kind === "unassigned") && !isForgotten;
}

/** Values of a trend that are looked at for growth: of five minutes, as slopes of seconds come and go. */
const GROWTH_STEPS = 30;

function grows(trend: readonly number[]): boolean {
  // What stands at 0 before its first figure was not known then, or had nothing to read: from neither does it grow yet.
  const known = trend.slice(trend.findIndex((lag) => lag > 0));
  const recent = known.slice(-GROWTH_STEPS);
  return recent.length > 1 && recent.at(-1)! > recent[0]!;
}

/** Partitions worst first: by status, then by how far behind, then by how many messages. */
export function worstFirst<One extends Lag & { readonly isForgotten?: boolean }>(
  lags: readonly One[],
): One[] {
  return lags.toSorted((a, b) =>
    statusRank(a) - statusRank(b) || behindSteps(b.lagSeconds) - behindSteps(a.lagSeconds) ||
    b.lag - a.lag
  );
}

/** Groups are looked at one after another: what differs by less is the same, else rows would jump each second. */
const BEHIND_STEP_SECONDS = 10;

function behindSteps(seconds: number | null): number {
  return Math.floor((seconds ?? 0) / BEHIND_STEP_SECONDS);
}

/** A partition that nobody reads and that holds nothing to read is no worse than an idle one. */
export function statusRank(
  { status, lag, isForgotten = false }: Pick<Lag, "status" | "lag"> & {
    readonly isForgotten?: boolean;
  },
): number {
  if (lag === 0) return STATUS_RANKS.idle;
  return isForgotten ? STATUS_RANKS.forgotten : STATUS_RANKS[status];
}

export interface Sums {
  readonly minutes: number;
  readonly published: number;
  readonly delivered: number;
  readonly duplicatesSuppressed: number;
  readonly deadLetters: number;
  readonly retries: number;
  readonly rebalances: number;
  readonly leaderChanges: number;
  readonly inSyncChanges: number;
  readonly failures: number;
}

/** What happened over the points (oldest first). Rates are of the time since the point before. */
export function sumsOf(history: readonly OverviewPoint[]): Sums {
  const sum = (value: (point: OverviewPoint) => number) =>
    history.reduce((total, point) => total + value(point), 0);
  const total = (perSecond: (point: OverviewPoint) => number) =>
    history.reduce((sum, point, index) => {
      const before = history[index - 1];
      // Of the first, and after a gap, about a second is known.
      const seconds = before === undefined ? 1 : (point.at - before.at) / 1_000;
      return sum + perSecond(point) * (seconds > 0 && seconds < 5 ? seconds : 1);
    }, 0);
  const first = history[0];
  const last = history.at(-1);
  return {
    minutes: first === undefined || last === undefined ? 0 : (last.at - first.at) / 60_000,
    published: total(({ publishedMessagesPerSecond }) => publishedMessagesPerSecond),
    delivered: total(({ deliveredMessagesPerSecond }) => deliveredMessagesPerSecond),
    failures: total(({ publishFailuresPerSecond }) => publishFailuresPerSecond),
    duplicatesSuppressed: sum(({ duplicatesSuppressed }) => duplicatesSuppressed),
    deadLetters: sum(({ deadLetters }) => deadLetters),
    retries: sum(({ retries }) => retries),
    rebalances: sum(({ rebalances }) => rebalances),
    leaderChanges: sum(({ leaderChanges }) => leaderChanges),
    inSyncChanges: sum(({ inSyncChanges }) => inSyncChanges),
  };
}

/** `part` of `whole`; null where there is no whole. */
export function shareOf(part: number, whole: number): number | null {
  return whole > 0 ? part / whole : null;
}

/** Of replays and redrives that have ended by themselves, those that did what they were to do; null: none has. */
export function replaySuccess(jobs: Readonly<Record<string, number>>): number | null {
  const completed = jobs.completed ?? 0;
  return shareOf(completed, completed + (jobs.failed ?? 0));
}

/** Values of a trend are ten seconds apart; how many are looked at for its slope. */
const TREND_STEP_SECONDS = 10;
const SLOPE_STEPS = 3;
/** A slope below this share of the lag, a minute, is none. */
const STEADY_SHARE = 0.02;

export interface Direction {
  readonly kind: "growing" | "falling" | "steady";
  /** Messages a second; not negative. */
  readonly perSecond: number;
  /** Until nothing is left at this pace; null unless it falls. */
  readonly secondsLeft: number | null;
}

/** Where a lag goes, by its trend (oldest first); null where too little is known. */
export function directionOf(trend: readonly number[]): Direction | null {
  const now = trend.at(-1);
  const steps = Math.min(SLOPE_STEPS, trend.length - 2);
  if (now === undefined || steps < 1) return null;
  // The newest value may be of a step that has just begun: the ones before are whole steps apart.
  const before = trend.at(-2 - steps)!;
  const recent = trend.at(-2)!;
  const slope = (recent - before) / (steps * TREND_STEP_SECONDS);
  if (Math.abs(slope) * 60 <= now * STEADY_SHARE) {
    return { kind: "steady", perSecond: 0, secondsLeft: null };
  }
  return slope > 0
    ? { kind: "growing", perSecond: slope, secondsLeft: null }
    : { kind: "falling", perSecond: -slope, secondsLeft: now / -slope };
}
