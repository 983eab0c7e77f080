// Owns one decision while it is made: what happens, the state it leads to, and who is told.
// Refuses to own any rule of groups but one: a group whose members or partitions changed has a rebalance on its way.
// Invariant: events are applied as the runtime applies them, all journalled ones first, so both reach the same state.
import type { GroupEvent, GroupVolatileEvent } from "./events.ts";
import { evolveGroup } from "./evolve.ts";
import type { GroupSettings } from "./settings.ts";
import type { GroupState } from "./state.ts";
import { lookUp } from "./table.ts";
import { listPartitions } from "./topic_partitions.ts";
import type { At, GroupNotification } from "./types.ts";

/** What a command leads to: `events` are journalled and evolve the state, then `volatile` does. */
export interface GroupDecision {
  readonly events: readonly GroupEvent[];
  readonly volatile: readonly GroupVolatileEvent[];
  readonly notify: readonly {
    readonly memberId: string;
    readonly notification: GroupNotification;
  }[];
  /** A BrokerError refuses the command although something has happened. */
  readonly reply: unknown;
}

export interface GroupContext {
  readonly at: At;
  readonly settings: GroupSettings;
}

export class Draft {
  readonly #events: GroupEvent[] = [];
  readonly #volatile: GroupVolatileEvent[] = [];
  readonly #notify: { memberId: string; notification: GroupNotification }[] = [];
  readonly #reassigned = new Set<string>();
  #state: GroupState;

  constructor(state: GroupState, readonly context: GroupContext) {
    this.#state = state;
  }

  /** With the journalled events so far. */
  get state(): GroupState {
    return this.#state;
  }

  record(event: GroupEvent): void {
    this.#events.push(event);
    this.#state = evolveGroup(this.#state, event);
  }

  /** Takes effect when the decision is finished. */
  remember(event: GroupVolatileEvent): void {
    this.#volatile.push(event);
  }

  tell(memberId: string, notification: GroupNotification): void {
    this.#notify.push({ memberId, notification });
  }

  /** At the end, once, with its whole assignment, if it is a member then. */
  tellAssignment(memberId: string): void {
    this.#reassigned.add(memberId);
  }

  finish(reply: (state: GroupState) => unknown): GroupDecision {
    this.#schedule();
    for (const memberId of [...this.#reassigned].sort()) {
      const assignment = lookUp(this.#state.assignments, memberId);
      if (assignment === undefined) continue;
      const { generation } = this.#state;
      this.tell(memberId, {
        type: "assigned",
        generation,
        partitions: listPartitions(assignment),
      });
    }
    return {
      events: this.#events,
      volatile: this.#volatile,
      notify: this.#notify,
      reply: reply(this.#state),
    };
  }

  #schedule(): void {
    for (const event of this.#volatile) this.#state = evolveGroup(this.#state, event);
    const { causes, volatile, target } = this.#state;
    if (causes === null || volatile.rebalance !== null) return;
    const { at: { monotonic: now }, settings } = this.context;
    const isFirst = target.memberIds.length === 0;
    const delayMs = isFirst ? settings.initialRebalanceDelayMs : settings.rebalanceDelayMs;
    const latestMs = isFirst ? settings.maxInitialRebalanceDelayMs : delayMs;
    const event: GroupVolatileEvent = {
      type: "RebalanceScheduled",
      dueAt: now + Math.min(delayMs, latestMs),
      latestAt: now + latestMs,
    };
    this.#volatile.push(event);
    this.#state = evolveGroup(this.#state, event);
  }
}

/** A decision that changes nothing that is journalled. */
export function onlyVolatile(
  volatile: readonly GroupVolatileEvent[],
  reply: unknown,
): GroupDecision {
  return { events: [], volatile, notify: [], reply };
}
