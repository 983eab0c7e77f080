// Owns how an event-sourced actor runs over its journal: supervised, with the bounds that all of them share.
// Refuses to own deciding and what effects do.
// Invariant: every start reads the journal anew; nothing of an actor that failed is kept.
import type { Clock, Timers } from "../../storage/ports.ts";
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type { Journal } from "../runtime/journal.ts";
import { KeyedActor } from "../runtime/keyed_actor.ts";
import type { KeyedDecider } from "../runtime/keyed_decider.ts";
import { DEFAULT_KEYED_ACTOR_BOUNDS } from "../runtime/keyed_options.ts";
import type { RuntimeLog } from "../runtime/reports.ts";
import { DEFAULT_RESTART_BOUNDS } from "../runtime/restart_policy.ts";
import { type Home, Supervised } from "../runtime/supervisor.ts";

export interface SupervisedActorPorts {
  readonly snapshots: SnapshotStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly runtimeLog: RuntimeLog;
}

/** The actor named `id`, not started yet. `journal` is asked for at each start. */
export function supervisedActor<State, Command extends { type: string }, Event, Volatile, Effect>(
  id: string,
  options: {
    readonly decider: KeyedDecider<State, Command, Event, Volatile, Effect>;
    readonly journal: () => Journal;
    /** Of the journal: it runs where that is led. */
    readonly home: Home;
    readonly perform: (key: string, effect: Effect) => void;
  },
  { snapshots, clock, timers, runtimeLog: log }: SupervisedActorPorts,
): Supervised<KeyedActor<State, Command, Event, Volatile, Effect>> {
  const { decider, journal, home, perform } = options;
  return new Supervised({
    id,
    bounds: DEFAULT_RESTART_BOUNDS,
    clock,
    timers,
    log,
    home,
    start: (onFailure) =>
      KeyedActor.open({
        id,
        decider,
        journal: journal(),
        snapshots,
        clock,
        timers,
        log,
        onFailure,
        bounds: DEFAULT_KEYED_ACTOR_BOUNDS,
        perform,
      }),
  });
}
