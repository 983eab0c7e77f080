// Owns the states of one shard: the durable ones, and the working ones of a drain laid over them.
// Refuses to own deciding, deadlines and durability.
// Invariant: `durable` holds what the journal holds with what is volatile on top; working states that are dropped leave no trace.
import type { KeyedDecider } from "./keyed_decider.ts";

type StateRules<State> = Pick<
  KeyedDecider<State, { type: string }, unknown, unknown, unknown>,
  "initial" | "isGone"
>;

/** States by key. A key that is not there is in its initial state. */
export class KeyedStates<State> {
  /** Keys that `recovered` has not been sent to since the last load. */
  readonly unrecovered: Set<string>;

  constructor(readonly rules: StateRules<State>, readonly durable: Map<string, State>) {
    this.unrecovered = new Set(durable.keys());
  }

  get(key: string): State {
    return this.durable.get(key) ?? this.rules.initial(key);
  }
}

/** What a drain has made of the states so far; later commands of the drain see it, nothing else does. */
export class WorkingStates<State> {
  readonly #base: KeyedStates<State>;
  readonly #changed = new Map<string, State>();
  readonly #recovered = new Set<string>();

  constructor(base: KeyedStates<State>) {
    this.#base = base;
  }

  get(key: string): State {
    return this.#changed.get(key) ?? this.#base.get(key);
  }

  set(key: string, state: State): void {
    this.#changed.set(key, state);
  }

  needsRecovery(key: string): boolean {
    return this.#base.unrecovered.has(key) && !this.#recovered.has(key);
  }

  markRecovered(key: string): void {
    this.#recovered.add(key);
  }

  /** Makes the working states the durable ones, forgets keys that are gone, and calls `onKey` for each key touched. */
  commit(onKey: (key: string) => void): void {
    const { durable, unrecovered, rules } = this.#base;
    for (const [key, state] of this.#changed) {
      if (rules.isGone(state)) durable.delete(key);
      else durable.set(key, state);
      onKey(key);
    }
    for (const key of this.#recovered) {
      unrecovered.delete(key);
      if (!this.#changed.has(key)) onKey(key);
    }
  }
}
