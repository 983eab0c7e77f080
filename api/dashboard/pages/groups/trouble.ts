// Owns a group's trouble as its page tells it, and what its own lag says of it where the overview is not to be seen.
// Refuses to own the overview's judgement (actors/measurement/group_trouble.ts). Invariant: pure; nothing unread is no trouble.
import type { Group, GroupLag } from "../../answers.ts";
import { partitionsText } from "../../partition_text.ts";
import type { Tone } from "../../tone.ts";
import type { Trouble } from "../overview/summary.ts";

type Kind = Trouble["trouble"]["kind"];

export interface GroupTrouble {
  readonly kind: Kind;
  readonly word: string;
  readonly tone: Extract<Tone, "bad" | "warn" | "quiet">;
  /** Wall time, ms; null: not known. */
  readonly since: number | null;
  readonly why: string;
}

const STATUSES = [
  { status: "stalled", tone: "bad", says: "nothing is committed on" },
  { status: "unassigned", tone: "bad", says: "no member has" },
  { status: "lagging", tone: "warn", says: "slow on" },
] as const;

/** Of several reasons the first explains the others. */
export function troubleOfLag(
  group: Pick<Group, "paused" | "members">,
  { partitions }: Pick<GroupLag, "partitions">,
): Omit<GroupTrouble, "word"> | null {
  const behind = partitions.filter(({ lag }) => lag > 0);
  if (behind.length === 0) return null;
  if (group.paused !== null) {
    const { since, reason } = group.paused;
    return { kind: "paused", tone: "warn", since, why: `paused: ${reason}` };
  }
  if (group.members.length === 0) {
    return { kind: "no-members", tone: "warn", since: null, why: "no member reads it" };
  }
  for (const { status, tone, says } of STATUSES) {
    const found = behind.filter((one) => one.status === status);
    if (found.length > 0) {
      return { kind: status, tone, since: null, why: `${says} ${partitionsText(found)}` };
    }
  }
  return null;
}
