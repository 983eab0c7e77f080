// Owns how many consumers and partitions a group needs, from what was measured of it.
// Refuses to own measuring (lag_growing.ts). Pure.
// Invariant: nothing is recommended that does not follow from the figures; where nothing is consumed, nothing can be said.

/** A group that is behind is to have caught up in this time. */
export const CATCH_UP_SECONDS = 600;
/** More is not recommended: the figures would be wrong. */
const MAX_RECOMMENDED = 10_000;

export interface PartitionFigures {
  readonly memberId: string | null;
  readonly appendedPerSecond: number;
  readonly consumedPerSecond: number;
  /** Messages behind at the end of the measurement. */
  readonly lag: number;
}

export interface GroupFigures {
  readonly members: number;
  /** All that the group reads. */
  readonly partitions: readonly PartitionFigures[];
}

export interface Recommendation {
  readonly lag: number;
  readonly appendedPerSecond: number;
  readonly consumedPerSecond: number;
  /** What a member that has work consumes; null: none consumes anything. */
  readonly perMemberPerSecond: number | null;
  /** To keep up and to have caught up within CATCH_UP_SECONDS; null: nothing can be said. */
  readonly membersNeeded: number | null;
  /** So that each of these members has something to read, and none has more than it can. */
  readonly partitionsNeeded: number | null;
  /** As it is now; null: never. */
  readonly caughtUpInSeconds: number | null;
  readonly words: string;
}

/** What the group needs. */
export function recommend(figures: GroupFigures): Recommendation {
  const { partitions } = figures;
  const sum = (of: (one: PartitionFigures) => number) =>
    partitions.reduce((total, one) => total + of(one), 0);
  const lag = sum((one) => one.lag);
  const appendedPerSecond = sum((one) => one.appendedPerSecond);
  const consumedPerSecond = sum((one) => one.consumedPerSecond);
  const perMemberPerSecond = capacityOf(partitions);
  const surplus = consumedPerSecond - appendedPerSecond;
  const measured = {
    lag,
    appendedPerSecond,
    consumedPerSecond,
    perMemberPerSecond,
    caughtUpInSeconds: lag === 0 ? 0 : surplus > 0 ? lag / surplus : null,
    ...needs(partitions, perMemberPerSecond, appendedPerSecond + lag / CATCH_UP_SECONDS),
  };
  return { ...measured, words: inWords(figures, measured) };
}

/** Consumed by those members that had something left to read, on average: the others may be able to do more. */
function capacityOf(partitions: readonly PartitionFigures[]): number | null {
  const byMember = new Map<string, { consumed: number; lag: number }>();
  for (const { memberId, consumedPerSecond, lag } of partitions) {
    if (memberId === null) continue;
    const { consumed, lag: before } = byMember.get(memberId) ?? { consumed: 0, lag: 0 };
    byMember.set(memberId, { consumed: consumed + consumedPerSecond, lag: before + lag });
  }
  const busy = [...byMember.values()].filter((one) => one.lag > 0 && one.consumed > 0);
  if (busy.length === 0) return null;
  return busy.reduce((sum, { consumed }) => sum + consumed, 0) / busy.length;
}

function needs(
  partitions: readonly PartitionFigures[],
  perMemberPerSecond: number | null,
  wantedPerSecond: number,
): Pick<Recommendation, "membersNeeded" | "partitionsNeeded"> {
  if (perMemberPerSecond === null) return { membersNeeded: null, partitionsNeeded: null };
  const most = Math.max(0, ...partitions.map((one) => one.appendedPerSecond));
  const membersNeeded = bounded(Math.ceil(wantedPerSecond / perMemberPerSecond));
  // One partition is read by one member: what comes into it must not be more than one can read.
  const parts = bounded(Math.ceil(most / perMemberPerSecond));
  const partitionsNeeded = bounded(Math.max(partitions.length * parts, membersNeeded));
  return { membersNeeded, partitionsNeeded };
}

function bounded(count: number): number {
  return Math.min(MAX_RECOMMENDED, Math.max(1, count));
}

function inWords(
  { members, partitions }: GroupFigures,
  { membersNeeded, partitionsNeeded, ...measured }: Omit<Recommendation, "words">,
): string {
  const { lag, appendedPerSecond, consumedPerSecond, caughtUpInSeconds } = measured;
  const found = `${lag} messages behind; ${rate(appendedPerSecond)} come in, ` +
    `${
      rate(consumedPerSecond)
    } are committed by ${members} members from ${partitions.length} partitions`;
  if (members === 0) return `${found}; recommended: start its consumers`;
  if (membersNeeded === null || partitionsNeeded === null) {
    return `${found}; recommended: see why nothing is committed, more members would not help`;
  }
  const wanted = [
    ...(membersNeeded > members ? [`${membersNeeded} members instead of ${members}`] : []),
    ...(partitionsNeeded > partitions.length
      ? [`${partitionsNeeded} partitions instead of ${partitions.length}`]
      : []),
  ];
  if (wanted.length > 0) {
    return `${found}; recommended, to catch up in ${CATCH_UP_SECONDS} s: ${wanted.join(", ")}`;
  }
  const when = caughtUpInSeconds === null
    ? "it does not catch up as it is spread now"
    : `it has caught up in about ${Math.ceil(caughtUpInSeconds)} s`;
  return `${found}; recommended: no more members, ${when}`;
}

function rate(perSecond: number): string {
  return `${perSecond < 10 ? Math.round(perSecond * 10) / 10 : Math.round(perSecond)}/s`;
}
