// Owns knowing the lags of all groups, a few looked at anew each second.
// Refuses to own measuring one group (api/group_lag.ts) and judging it (actors/threshold).
// Invariant: looking takes a bounded share of the time, however many groups there are; then some lags are older. Every group
// has its turn; what is remembered is bounded, and of what is not it is known how many there are.
import type { GroupDescription, GroupSummary } from "../../actors/group/types.ts";
import type { Broker } from "../../actors/broker.ts";
import { sharedAmongTenants } from "../../actors/measurement/fair_share.ts";
import {
  type GroupTrouble,
  type TroubleInput,
  type TroubleMember,
  TroubleMemory,
} from "../../actors/measurement/group_trouble.ts";
import {
  type GroupSample,
  type LagSample,
  MAX_JUDGED_LAGS,
  MAX_SAMPLED_GROUPS,
  MAX_SAMPLED_LAGS,
  type Sample,
} from "../../actors/measurement/types.ts";
import { type GroupLag, lagOfGroup } from "../../api/group_lag.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Clock } from "../../storage/ports.ts";

/** Time that one round of looks takes, about: after it the rest waits for the next round. */
const MAX_ROUND_MS = 25;
/** Groups whose lags are remembered; of more, those that have read everything make room. */
const MAX_GROUPS = 10_000;

export interface LagWatchOptions {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly maxDecompressedBytes: number;
  /** Left out: MAX_GROUPS. */
  readonly maxGroups?: number;
}

interface Known extends Omit<GroupLag, "partitions"> {
  readonly tenant: string | undefined;
  readonly lags: readonly LagSample[];
  readonly members: number;
  readonly trouble: GroupTrouble | null;
}

export class LagWatch {
  readonly #groups = new Map<string, Known>();
  /** Those that have read everything, and are not remembered for want of room. */
  readonly #well = new Set<string>();
  /** Tenants of all groups that there are. */
  #tenants: ReadonlyMap<string, string | undefined> = new Map();
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
    const groups = await broker.groups();
    this.#tenants = new Map(groups.map(({ groupId, tenant }) => [groupId, tenant]));
    for (const name of [...this.#groups.keys(), ...this.#well]) {
      if (!this.#tenants.has(name)) this.#forget(name);
    }
    const first = groups.findIndex(({ groupId }) => groupId > this.#last);
    const inTurn = first < 0 ? groups : [...groups.slice(first), ...groups.slice(0, first)];
    for (const group of inTurn) {
      await this.#lookAt(group);
      this.#last = group.groupId;
      if (clock.monotonic() - startedMs >= MAX_ROUND_MS) break;
    }
    const tookMs = clock.monotonic() - startedMs;
    this.#owedMs = Math.max(0, this.#owedMs + tookMs - MAX_ROUND_MS);
  }

  /** All that there are, remembered or not. */
  get groupCount(): number {
    return this.#tenants.size;
  }

  /** Those that nothing is known of: not looked at yet, or behind and without room. */
  get unknownCount(): number {
    return Math.max(0, this.#tenants.size - this.#groups.size - this.#well.size);
  }

  /** Whose a group is; undefined: nobody's. */
  tenantOf(group: string): string | undefined {
    return this.#tenants.get(group);
  }

  /** Over all groups. */
  get partitionCount(): number {
    let count = 0;
    for (const { lags } of this.#groups.values()) count += lags.length;
    return count;
  }

  /** Lags by partition, largest first; of more than `max`, tenants have their shares. */
  lags(max = MAX_SAMPLED_LAGS): readonly LagSample[] {
    const all = [...this.#groups.values()].flatMap(({ lags }) => lags);
    return sharedAmongTenants(all.sort((a, b) => b.lag - a.lag), max);
  }

  /** Everything that lags, and how much of it is not known or beyond `max`. */
  judged(max = MAX_JUDGED_LAGS): Required<Pick<Sample, "judgedLags" | "unjudgedLags">> {
    const all: LagSample[] = [];
    for (const { lags } of this.#groups.values()) {
      for (const one of lags) if (one.lag > 0) all.push(one);
    }
    const judgedLags = sharedAmongTenants(all.sort((a, b) => b.lag - a.lag), max);
    return { judgedLags, unjudgedLags: all.length - judgedLags.length + this.unknownCount };
  }

  /** Lags by group, largest first; of more than `max`, those in trouble stay, and tenants have their shares. */
  groups(max = MAX_SAMPLED_GROUPS): GroupSample[] {
    const all = [...this.#groups.values()].sort((a, b) => b.totalLag - a.totalLag);
    if (all.length <= max) return all.map(groupSample);
    const inTrouble = sharedAmongTenants(all.filter(({ trouble }) => trouble !== null), max);
    const well = all.filter(({ trouble }) => trouble === null);
    const kept = [...inTrouble, ...sharedAmongTenants(well, max - inTrouble.length)];
    return kept.sort((a, b) => b.totalLag - a.totalLag).map(groupSample);
  }

  async #lookAt({ groupId: group, tenant }: GroupSummary): Promise<void> {
    const { broker, clock } = this.options;
    const isSeen = () => true;
    try {
      const description = await broker.group({ type: "Describe", group });
      const lag = await lagOfGroup({ ...this.options, isSeen }, description);
      const trouble = this.#troubles.take(group, troubleInput(description, lag, clock.now()));
      const { groupId, state, totalLag } = lag;
      const lags = lagSamples(lag, tenant);
      const members = description.members.length;
      this.#remember({ groupId, state, totalLag, tenant, lags, members, trouble });
    } catch (error) {
      // It has gone, or does not answer now: what was known of it is not true any more.
      if (!(error instanceof BrokerError)) throw error;
      this.#forget(group);
    }
  }

  #remember(known: Known): void {
    const { groupId } = known;
    this.#well.delete(groupId);
    if (this.#groups.has(groupId) || this.#hasRoomFor(known)) {
      this.#groups.set(groupId, known);
      return;
    }
    this.#forget(groupId);
    if (isWell(known)) this.#well.add(groupId);
  }

  /** Whether there is room, once another has made some where it may. */
  #hasRoomFor(known: Known): boolean {
    const { maxGroups = MAX_GROUPS } = this.options;
    if (this.#groups.size < maxGroups) return true;
    if (isWell(known)) return false;
    const all = [...this.#groups.values()];
    const goes = all.find(isWell) ?? leastOfCrowd(all, known.tenant);
    if (goes === undefined) return false;
    this.#forget(goes.groupId);
    if (isWell(goes)) this.#well.add(goes.groupId);
    return true;
  }

  #forget(group: string): void {
    this.#groups.delete(group);
    this.#well.delete(group);
    this.#troubles.forget(group);
  }
}

function isWell({ totalLag, trouble }: Known): boolean {
  return totalLag === 0 && trouble === null;
}

/** Of the tenant with the most groups, the one with the least lag; undefined where `tenant` would have as many as that. */
function leastOfCrowd(all: readonly Known[], tenant: string | undefined): Known | undefined {
  const byTenant = Map.groupBy(all, (known) => known.tenant);
  const crowd = [...byTenant.values()].reduce((a, b) => b.length > a.length ? b : a, []);
  if (crowd.length <= (byTenant.get(tenant)?.length ?? 0) + 1) return undefined;
  return crowd.reduce((a, b) => b.totalLag < a.totalLag ? b : a);
}

function lagSamples({ groupId, partitions }: GroupLag, tenant: string | undefined): LagSample[] {
  return partitions.map(({ topic, partition, lag, lagSeconds, status }) => {
    const sample = { group: groupId, topic, partition, lag, lagSeconds, status };
    return tenant === undefined ? sample : { ...sample, tenant };
  });
}

function troubleInput(
  { members, paused, rebalances, offsets }: GroupDescription,
  { partitions }: GroupLag,
  nowMs: number,
): TroubleInput {
  const committedAt = new Map(
    offsets.map(({ topic, partition, committedAt }) => [`${topic}/${partition}`, committedAt]),
  );
  const byId = new Map(members.map((member) => [member.memberId, member]));
  return {
    nowMs,
    members: members.length,
    paused,
    membersChangedAtMs: rebalances.at(-1)?.at ?? null,
    partitions: partitions.map((one) => ({
      ...one,
      member: one.memberId === null ? null : troubleMember(one.memberId, byId.get(one.memberId)),
      committedAtMs: committedAt.get(`${one.topic}/${one.partition}`) ?? null,
    })),
  };
}

function troubleMember(
  memberId: string,
  member: GroupDescription["members"][number] | undefined,
): TroubleMember {
  return { memberId, clientId: member?.clientId ?? null, version: member?.version ?? null };
}

function groupSample(
  { groupId, tenant, state, members, totalLag, lags, trouble }: Known,
): GroupSample {
  const stalled = lags.filter(({ status }) => status === "stalled");
  return {
    group: groupId,
    ...tenant === undefined ? {} : { tenant },
    state,
    members,
    totalLag,
    stalledLag: stalled.reduce((sum, { lag }) => sum + lag, 0),
    maxLagSeconds: lags.length === 0
      ? null
      : Math.max(...lags.map(({ lagSeconds }) => lagSeconds ?? 0)),
    trouble,
  };
}
