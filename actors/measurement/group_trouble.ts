// Owns saying whether a group is in trouble, since when, and why, from what is known of its partitions.
// Refuses to own measuring lag (../group/lag.ts) and alerting (../threshold/).
// Invariant: pure; a trouble that comes back within CLEAR_MS has not been away, so that "since when" does not flicker.
import type { LagStatus } from "../group/lag.ts";

/** Of several, the first explains the others: a paused group is stalled too. */
export const TROUBLE_KINDS = Object.freeze(
  ["paused", "no-members", "stalled", "unassigned", "lagging"] as const,
);
export type TroubleKind = (typeof TROUBLE_KINDS)[number];

export interface GroupTrouble {
  readonly kind: TroubleKind;
  /** Since when the group is in trouble, of this kind or another; wall time, ms. */
  readonly since: number;
  /** In words. */
  readonly why: string;
}

export interface TroubleInput {
  readonly nowMs: number;
  readonly members: number;
  readonly paused: { readonly reason: string; readonly since: number } | null;
  /** When the group's members last changed; null: not known. */
  readonly membersChangedAtMs: number | null;
  readonly partitions: readonly {
    readonly topic: string;
    readonly partition: number;
    readonly lag: number;
    readonly lagSeconds: number;
    /** Whoever has it; null: nobody. */
    readonly member: TroubleMember | null;
    readonly status: LagStatus;
    /** When an offset was last committed; null: never. */
    readonly committedAtMs: number | null;
  }[];
}

/** A member, and what it said of itself. */
export interface TroubleMember {
  readonly memberId: string;
  /** Null, or "": it said none. */
  readonly clientId: string | null;
  readonly version: string | null;
}

/** How long a group has to be well until its trouble counts as over. */
const CLEAR_MS = 10_000;
/** Partitions and members that are named; the others are counted. */
const MAX_NAMED = 3;

/** What is wrong with a group now, and since when as far as its partitions tell; null: nothing. */
export function troubleNow(input: TroubleInput): GroupTrouble | null {
  const behind = input.partitions.filter(({ lag }) => lag > 0);
  if (behind.length === 0) return null;
  const oldest = Math.min(...behind.map((one) => waitingSince(one, input.nowMs)));
  const { paused, members, nowMs } = input;
  if (paused !== null) {
    const since = Math.max(paused.since, oldest);
    return { kind: "paused", since, why: `paused: ${paused.reason}` };
  }
  if (members === 0) {
    const since = Math.max(input.membersChangedAtMs ?? 0, oldest);
    return { kind: "no-members", since, why: "no member reads it" };
  }
  const stalled = behind.filter(({ status }) => status === "stalled");
  if (stalled.length > 0) {
    const since = Math.min(...stalled.map((one) =>
      // Whatever is committed, the newest of both is when it could last have moved.
      Math.max(one.committedAtMs ?? 0, waitingSince(one, nowMs))
    ));
    const why = `${nothingBy(stalled)} nothing on ${partitionsOf(stalled)}`;
    return { kind: "stalled", since, why };
  }
  const unassigned = behind.filter(({ status }) => status === "unassigned");
  if (unassigned.length > 0) {
    const since = Math.max(input.membersChangedAtMs ?? 0, oldest);
    return { kind: "unassigned", since, why: `no member has ${partitionsOf(unassigned)}` };
  }
  const lagging = behind.filter(({ status }) => status === "lagging");
  if (lagging.length === 0) return null;
  const since = Math.min(...lagging.map((one) => waitingSince(one, nowMs)));
  const of = `${lagging.length} of ${input.partitions.length}`;
  return { kind: "lagging", since, why: `slow on ${of} partitions: ${partitionsOf(lagging)}` };
}

/** `member till-7 (version 2) commits`, `3 members till-7 commit`, `members till-7, till-8 commit`. */
function nothingBy(stalled: TroubleInput["partitions"]): string {
  const members = new Map(
    stalled.flatMap(({ member }) => member === null ? [] : [[member.memberId, nameOf(member)]]),
  );
  const names = listed([...new Set(members.values())]);
  if (members.size <= 1) return `member ${names} commits`;
  const isOneName = new Set(members.values()).size === 1;
  return `${isOneName ? `${members.size} ` : ""}members ${names} commit`;
}

/** Ids were made by the broker: operators know the names and versions that members gave themselves. */
function nameOf({ memberId, clientId, version }: TroubleMember): string {
  const isNamed = clientId !== null && clientId !== "";
  if (version === null) return isNamed ? clientId : memberId;
  return isNamed ? `${clientId} (version ${version})` : `of version ${version}`;
}

function waitingSince({ lagSeconds }: { lagSeconds: number }, nowMs: number): number {
  return nowMs - lagSeconds * 1_000;
}

function partitionsOf(partitions: TroubleInput["partitions"]): string {
  return listed(partitions.map(({ topic, partition }) => `${topic}/${partition}`));
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMED).join(", ");
  const rest = names.length - MAX_NAMED;
  return rest > 0 ? `${shown} and ${rest} more` : shown;
}

/** What is remembered of a group's trouble. */
interface Remembered {
  readonly since: number;
  /** When it was last there. */
  readonly lastAtMs: number;
}

/** Troubles of many groups over time: keeps since when. Bounded by the groups that are asked about and not forgotten. */
export class TroubleMemory {
  readonly #groups = new Map<string, Remembered>();

  /** The group's trouble with since when it is in one, across kinds and short recoveries. */
  take(group: string, input: TroubleInput): GroupTrouble | null {
    const now = troubleNow(input);
    const before = this.#groups.get(group);
    if (now === null) {
      if (before !== undefined && input.nowMs - before.lastAtMs >= CLEAR_MS) this.forget(group);
      return null;
    }
    const since = before === undefined ? now.since : Math.min(before.since, now.since);
    this.#groups.set(group, { since, lastAtMs: input.nowMs });
    return { ...now, since };
  }

  forget(group: string): void {
    this.#groups.delete(group);
  }
}
