// Owns what the page knows of the broker: the overview, kept current by samples.
// Refuses to own the connection (live_overview.ts) and the looks (pages/).
// Invariant: pure and bounded: points and trends go back 15 minutes, as the broker's own do.
import type { Overview, OverviewNow } from "../../overview/overview.ts";

const HISTORY_MS = 15 * 60_000;
const MAX_POINTS = 900;
/** As the broker's trends: one value for ten seconds. */
const TREND_STEP_MS = 10_000;
const MAX_TREND_VALUES = 90;

export interface OverviewState extends Overview {
  /** Wall time, ms, of the sample that a trend's last value came from. */
  readonly trendAt: number;
}

/** The state from the first event of a connection. */
export function stateOf(overview: Overview): OverviewState {
  return { ...overview, trendAt: overview.now?.point.at ?? 0 };
}

/** The state after a sample. */
export function withSample(state: OverviewState, now: OverviewNow): OverviewState {
  const oldest = now.point.at - HISTORY_MS;
  const history = [...state.history, now.point].filter(({ at }) => at >= oldest)
    .slice(-MAX_POINTS);
  const isStep = now.point.at - state.trendAt >= TREND_STEP_MS;
  return {
    ...state,
    now,
    history,
    trends: trendsWith(state.trends, { now, isStep }),
    lagTrends: lagTrendsWith(state.lagTrends, { now, isStep }),
    trendAt: isStep ? now.point.at : state.trendAt,
  };
}

interface Step {
  readonly now: OverviewNow;
  /** Ten seconds have passed: the value before stays. */
  readonly isStep: boolean;
}

/** The newest value of a trend is what is true now; a step keeps the one before it. */
function trendWith(before: readonly number[], value: number, { isStep }: Step): number[] {
  return [...isStep ? before : before.slice(0, -1), value].slice(-MAX_TREND_VALUES);
}

function trendsWith(trends: Overview["trends"], step: Step): Record<string, number[]> {
  return Object.fromEntries(step.now.groups.map(({ group, totalLag }) => {
    const before = Object.hasOwn(trends, group) ? trends[group]! : [];
    return [group, trendWith(before, totalLag, step)];
  }));
}

function lagTrendsWith(trends: Overview["lagTrends"], step: Step): Overview["lagTrends"] {
  const before = new Map(trends.map((trend) => [lagKey(trend), trend.values]));
  return step.now.lags.map((one) => {
    const { group, topic, partition, lag } = one;
    const values = trendWith(before.get(lagKey(one)) ?? [], lag, step);
    return { group, topic, partition, values };
  });
}

/** Names a group's partition. */
export function lagKey(
  { group, topic, partition }: { group: string; topic: string; partition: number },
): string {
  // No name of a group or topic holds a space.
  return `${group} ${topic} ${partition}`;
}
