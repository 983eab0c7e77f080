// Owns the shape of a pure decider whose instances, one a key, share one journal.
// Refuses to own how it is run (keyed_actor.ts) and any behaviour (actors/group/decider.ts and the like).
// Invariant: every function here is synchronous and pure, and never changes the state that it is given.
import type { At } from "../group/types.ts";

export type { At };

/** What a command leads to. `events` are journalled and evolve the state first, then `volatile` evolves it. */
export interface Decision<Event, Volatile, Effect> {
  readonly events: readonly Event[];
  readonly volatile: readonly Volatile[];
  /** Performed once the events are durable, in order, before the reply is given. */
  readonly effects: readonly Effect[];
  /** A BrokerError refuses the command although something has happened. */
  readonly reply: unknown;
  /** Its events may be larger than those of one command may else be: a whole state. */
  readonly large?: boolean;
}

/**
 * A decider over one key. States are values: the runtime keeps old ones while it waits for the disk and while it writes
 * a snapshot, so `evolve` must return a new state, or the same when nothing changed.
 */
export interface KeyedDecider<State, Command extends { type: string }, Event, Volatile, Effect> {
  /** The state of a key of which nothing is known. */
  initial(key: string): State;
  /** Throws BrokerError to refuse the command; any other error is a broken invariant and stops the actor. */
  decide(
    state: State,
    command: Command,
    context: { readonly at: At },
  ): Decision<Event, Volatile, Effect>;
  /** Total: never throws for an event that was ever journalled. */
  evolve(state: State, event: Event | Volatile): State;
  /** Monotonic ms at which `tick` is due; null when nothing is. Kept current by the runtime after every change. */
  deadline(state: State): number | null;
  tick(key: string): Command;
  /** Sent once to every key after a replay, before any other command to that key. */
  recovered(key: string): Command;
  /** The state holds no more than `initial` and may be forgotten: deleted, nothing volatile. */
  isGone(state: State): boolean;
  /**
   * Where the event says that the journal from some offset on holds all there is, that offset: what lies before may be
   * dropped. Without it a journal is always kept whole.
   */
  completeFrom?(event: Event): number | null;
  /** The event as plain JSON data with its version. */
  encode(event: Event): unknown;
  /** Reads every version ever written. */
  decode(stored: unknown): Event;
  /** The journalled part of the state as plain JSON data, for snapshots. */
  encodeState(state: State): unknown;
  decodeState(stored: unknown): State;
  /** Raised when the meaning of `encodeState` changes; other snapshots are then ignored. */
  readonly stateVersion: number;
}
