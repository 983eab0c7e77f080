// Owns the commands of operators to a group's offsets, for tests: moves, snapshots, pauses.
// Refuses to own what comes of them. Invariant: plain commands.
import type { GroupCommand, OffsetTarget } from "../../actors/group/types.ts";
import { GROUP } from "./group_run.ts";

type Move = Extract<GroupCommand, { type: "MoveOffsets" }>;

export function moveTo(
  targets: readonly (readonly [partition: number, to: OffsetTarget["to"]])[],
  options: Partial<Move> = {},
): Move {
  return {
    type: "MoveOffsets",
    group: GROUP,
    action: "rollback",
    cause: "snapshot s1-1",
    targets: targets.map(([partition, to]) => ({
      topic: "orders",
      partition,
      to,
      logStartOffset: 10,
      endOffset: 1_000,
    })),
    dryRun: false,
    reason: "bad deploy",
    principal: "op",
    ...options,
  };
}

export const offset = (at: number) => ({ kind: "offset" as const, offset: at });

export const by = (count: number) => ({ kind: "relative" as const, by: count });

export const pause: GroupCommand = { type: "Pause", group: GROUP, reason: "r", principal: "op" };

export const resume: GroupCommand = { type: "Resume", group: GROUP, principal: "op" };

export const snapshot: GroupCommand = { type: "SnapshotOffsets", group: GROUP, principal: "op" };
