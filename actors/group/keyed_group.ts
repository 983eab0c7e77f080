// Owns how the consumer group decider runs in the runtime of keyed actors.
// Refuses to own any decision. Invariant: one group is one key.
import { type CanaryEffect, canaryEffects, recoveredCanary } from "./canary/canary_list.ts";
import type { KeyedDecider } from "../runtime/keyed_decider.ts";
import { decideGroup } from "./decide.ts";
import { type GroupEvent, type GroupVolatileEvent, upcastGroupEvent } from "./events.ts";
import { evolveGroup } from "./evolve.ts";
import {
  decodeGroupState,
  encodeGroupState,
  GROUP_STATE_VERSION,
  groupDeadline,
  type GroupSettings,
  type GroupState,
  initialGroup,
  isGroupGone,
} from "./state.ts";
import { type CountedInGroup, countsIn } from "./group_counts.ts";
import { tenantOf } from "./group_bound.ts";
import type { GroupCommand, GroupNotification } from "./types.ts";

/** What leaves a group's actor: word to one member, to all who listen, or to the writer of dead letters. */
export type GroupEffect =
  | CanaryEffect
  | { readonly memberId: string; readonly notification: GroupNotification }
  /** The group was read from its journal, and has these members. */
  | { readonly recovered: GroupState["members"] }
  /** There are dead letters to be written. */
  | { readonly deadLettersDue: true }
  /** Things happened that are counted. */
  | { readonly counted: CountedInGroup }
  /** The broker itself has paused the group: nobody asked for it. */
  | { readonly pausedBy: string; readonly reason: string };

/** Principals of the broker's own parts begin so. */
const SYSTEM_PREFIX = "system:";

/** Their events tell of as many partitions as the group may have: bounded by that, they are not cut off by their size. */
const SPEAKS_OF_ALL: ReadonlySet<GroupCommand["type"]> = new Set<GroupCommand["type"]>([
  "RecordState",
  "SnapshotOffsets",
  "MoveOffsets",
  "DeleteGroup",
  "PartitionsChanged",
]);

/** The group decider under `settings`. */
export function groupDecider(
  settings: GroupSettings,
): KeyedDecider<GroupState, GroupCommand, GroupEvent, GroupVolatileEvent, GroupEffect> {
  return {
    initial: initialGroup,
    decide(state, command, { at }) {
      const { events, volatile, notify, reply } = decideGroup(state, command, { at, settings });
      const owned = state.exists ? events : ownedBy(tenantOf(command), events);
      const large = SPEAKS_OF_ALL.has(command.type);
      const effects: GroupEffect[] = [...notify];
      // Before others hear that they have its partitions.
      if (command.type === "Recovered") {
        effects.unshift({ recovered: state.members }, ...recoveredCanary(state));
      }
      if (owesLetters(state, command, events)) effects.push({ deadLettersDue: true });
      effects.push(...pausesOfItsOwn(events), ...canaryEffects(state, events));
      const counted = countsIn(events);
      if (counted !== null) effects.push({ counted });
      return { events: owned, volatile, effects, reply, large };
    },
    evolve(state, event) {
      const next = evolveGroup(state, event);
      const { tenant } = event as { readonly tenant?: string };
      return tenant === undefined || state.tenant !== undefined ? next : { ...next, tenant };
    },
    deadline: groupDeadline,
    tick: (group) => ({ type: "Tick", group }),
    recovered: (group) => ({ type: "Recovered", group }),
    isGone: isGroupGone,
    completeFrom: (event) => event.type === "JournalCompleted" ? event.fromOffset : null,
    encode: (event) => event,
    decode: upcastGroupEvent,
    encodeState: encodeGroupState,
    decodeState: decodeGroupState,
    stateVersion: GROUP_STATE_VERSION,
  };
}

/** Says in the first event who makes the group. */
function ownedBy(tenant: string | undefined, events: readonly GroupEvent[]): readonly GroupEvent[] {
  const [first, ...others] = events;
  return tenant === undefined || first === undefined ? events : [{ ...first, tenant }, ...others];
}

function pausesOfItsOwn(events: readonly GroupEvent[]): GroupEffect[] {
  return events.flatMap((event) => {
    if (event.type !== "GroupPaused" || !event.principal.startsWith(SYSTEM_PREFIX)) return [];
    return [{ pausedBy: event.principal, reason: event.reason }];
  });
}

/** Said when there are more, and again after a restart: word of it may have been lost. */
function owesLetters(
  { retry }: GroupState,
  { type }: GroupCommand,
  events: readonly GroupEvent[],
): boolean {
  if (type === "Recovered") return retry.outboxSize > 0;
  return type === "Nack" && events.some((event) => event.type === "DeadLettersDue");
}
