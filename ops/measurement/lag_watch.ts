// Owns knowing the lags of all groups, a few looked at anew each second.
// Refuses to own measuring one group (api/group_lag.ts) and judging it (actors/threshold).
// Invariant: looking takes a bounded share of the time, however many groups there are; then some lags are older.
import type { GroupDescription } from "../../actors/group/types.ts";
import type { Broker } from "../../actors/broker.ts";
import {
  type GroupTrouble,
  type TroubleInput,
  TroubleMemory,
} from "../../actors/measurement/group_trouble.ts";
import {
  type GroupSample,
  type LagSample,
  MAX_SAMPLED_GROUPS,
  MAX_SAMPLED_LAGS,
} from "../../actors/measurement/types.ts";
import { type GroupLag, lagOfGroup } from "../../api/group_lag.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Clock } from "../../storage/ports.ts";

/** Time that one round of looks takes, about: after it the rest waits for the next round. */
const MAX_ROUND_MS = 25;
/** Groups that are remembered; of more, those that come last by name are not known. */
const MAX_GROUPS = 10_000;

export interface LagWatchOptions {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly maxDecompressedBytes: number;
}

interface Known extends GroupLag {
  readonly members: number;
  readonly trouble: GroupTrouble | null;
}

export class LagWatch {
  readonly #groups = new Map<string, Known>();
  readonly #troubles = new TroubleMemory();
  /** The group that was looked at last. */
  #last = "";
  /** What rounds before took more than they should. */
  #owedMs = 0;

  constructor(private readonly options: LagWatchOptions) {}

  /** One round of looks. */
  async look(): Promise<void> {
    const { broker, clock } = this.options;
    if (this.#owedMs >= MAX_ROUND_MS) {
      this.#owedMs -= MAX_ROUND_MS;
      return;
    }
    const startedMs = clock.monotonic();
    const groups = (await broker.groups()).slice(0, MAX_GROUPS);
    const names = new Set(groups.map(({ groupId }) => groupId));
    for (const name of this.#groups.keys()) if (!names.has(name)) this.#forget(name);
    const first = groups.findIndex(({ groupId }) => groupId > this.#last);
    const inTurn = first < 0 ? groups : [...groups.slice(first), ...groups.slice(0, first)];
    for (const { groupId } of inTurn) {
      await this.#lookAt(groupId);
      this.#last = groupId;
      if (clock.monotonic() - startedMs >= MAX_ROUND_MS) break;
    }
    const tookMs = clock.monotonic() - startedMs;
    this.#owedMs = Math.max(0, this.#owedMs + tookMs - MAX_ROUND_MS);
  }

  get groupCount(): number {
    return this.#groups.size;
  }

  /** Over all groups. */
  get partitionCount(): number {
    let count = 0;
    for (const { partitions } of this.#groups.values()) count += partitions.length;
    return count;
  }

  /** Lags by partition, largest first. */
  lags(max = MAX_SAMPLED_LAGS): LagSample[] {
    const all = [...this.#groups.values()].flatMap(({ groupId, partitions }) =>
      partitions.map(({ topic, partition, lag, lagSeconds, status }) => (
        { group: groupId, topic, partition, lag, lagSeconds, status }
      ))
    );
    return all.sort((a, b) => b.lag - a.lag).slice(0, max);
  }

  /** Lags by group, largest first; of more than `max`, those in trouble stay. */
  groups(max = MAX_SAMPLED_GROUPS): GroupSample[] {
    const all = [...this.#groups.values()].sort((a, b) => b.totalLag - a.totalLag);
    const kept = all.length <= max ? all : all
      .toSorted((a, b) => Number(a.trouble === null) - Number(b.trouble === null))
      .slice(0, max)
      .sort((a, b) => b.totalLag - a.totalLag);
    return kept.map(groupSample);
  }

  async #lookAt(group: string): Promise<void> {
    const { broker, clock } = this.options;
    const isSeen = () => true;
    try {
      const description = await broker.group({ type: "Describe", group });
      const lag = await lagOfGroup({ ...this.options, isSeen }, description);
      const trouble = this.#troubles.take(group, troubleInput(description, lag, clock.now()));
      this.#groups.set(group, { ...lag, members: description.members.length, trouble });
    } catch (error) {
      // It has gone, or does not answer now: what was known of it is not true any more.
      if (!(error instanceof BrokerError)) throw error;
      this.#forget(group);
    }
  }

  #forget(group: string): void {
    this.#groups.delete(group);
    this.#troubles.forget(group);
  }
}

function troubleInput(
  { members, paused, rebalances, offsets }: GroupDescription,
  { partitions }: GroupLag,
  nowMs: number,
): TroubleInput {
  const committedAt = new Map(
    offsets.map(({ topic, partition, committedAt }) => [`${topic}/${partition}`, committedAt]),
  );
  // An id was made by the broker: operators know the names that members gave themselves.
  const nameOf = new Map(members.map(({ memberId, clientId }) => [memberId, clientId || memberId]));
  return {
    nowMs,
    members: members.length,
    paused,
    membersChangedAtMs: rebalances.at(-1)?.at ?? null,
    partitions: partitions.map((one) => ({
      ...one,
      memberName: one.memberId === null ? null : nameOf.get(one.memberId) ?? one.memberId,
      committedAtMs: committedAt.get(`${one.topic}/${one.partition}`) ?? null,
    })),
  };
}

function groupSample(
  { groupId, state, members, totalLag, partitions, trouble }: Known,
): GroupSample {
  const stalled = partitions.filter(({ status }) => status === "stalled");
  return {
    group: groupId,
    state,
    members,
    totalLag,
    stalledLag: stalled.reduce((sum, { lag }) => sum + lag, 0),
    maxLagSeconds: partitions.length === 0
      ? null
      : Math.max(...partitions.map(({ lagSeconds }) => lagSeconds)),
    trouble,
  };
}
