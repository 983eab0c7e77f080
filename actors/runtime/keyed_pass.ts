// Owns one pass of deciding: commands in, and out what to append, to perform and to answer if the append succeeds.
// Refuses to own IO, time and retries (keyed_actor.ts): a pass is synchronous, and dropping it undoes it.
// Invariant: each command sees all before it; a refused command leaves nothing behind.
import { BrokerError } from "../../storage/broker_error.ts";
import type { JournalEntry } from "./journal.ts";
import type { At, Decision, KeyedDecider } from "./keyed_decider.ts";
import { type KeyedStates, WorkingStates } from "./keyed_states.ts";

/** One thing to do for a key: a command from outside, or one that the runtime itself owes the key. */
export type Work<Command> =
  | { readonly kind: "ask"; readonly key: string; readonly command: Command }
  | { readonly kind: "tick"; readonly key: string }
  | { readonly kind: "recover"; readonly key: string };

export interface PassOptions<State, Command extends { type: string }, Event, Volatile, Effect> {
  readonly decider: KeyedDecider<State, Command, Event, Volatile, Effect>;
  readonly states: KeyedStates<State>;
  readonly at: At;
  /** Bytes of events after which the pass takes no more commands; what one asked command may make at most. */
  readonly maxAppendBytes: number;
  /** Set when the journal has no space: refuses, with this error, every command that would need some. */
  readonly noSpace: BrokerError | null;
  readonly onOwnRefused: (key: string, error: BrokerError) => void;
}

export class DecidingPass<State, Command extends { type: string }, Event, Volatile, Effect> {
  readonly #options: PassOptions<State, Command, Event, Volatile, Effect>;
  readonly #encoder = new TextEncoder();
  readonly working: WorkingStates<State>;
  readonly entries: JournalEntry[] = [];
  readonly effects: { readonly key: string; readonly effect: Effect }[] = [];
  /** One for each piece of work taken: the reply, or the BrokerError that refuses it. */
  readonly outcomes: unknown[] = [];
  #appendBytes = 0;

  constructor(options: PassOptions<State, Command, Event, Volatile, Effect>) {
    this.#options = options;
    this.working = new WorkingStates(options.states);
  }

  /** Takes work from `from` on until it is done or the append is large enough. */
  take(work: readonly Work<Command>[], from: number): void {
    for (let i = from; i < work.length; i++) {
      if (this.#appendBytes >= this.#options.maxAppendBytes) return;
      this.outcomes.push(this.#outcome(work[i] as Work<Command>));
    }
  }

  #outcome(work: Work<Command>): unknown {
    const { decider, noSpace, onOwnRefused } = this.#options;
    const blocked = this.#recover(work.key);
    if (blocked !== null || work.kind === "recover") return blocked;
    if (work.kind === "ask") return this.#apply(work.key, work.command, true);
    const outcome = this.#apply(work.key, decider.tick(work.key), false);
    if (outcome instanceof BrokerError && outcome !== noSpace) onOwnRefused(work.key, outcome);
    return outcome;
  }

  /** The error that keeps the key from recovering now, null when it has. */
  #recover(key: string): BrokerError | null {
    if (!this.working.needsRecovery(key)) return null;
    const { decider, noSpace, onOwnRefused } = this.#options;
    const outcome = this.#apply(key, decider.recovered(key), false);
    if (outcome instanceof BrokerError) {
      if (outcome === noSpace) return outcome;
      onOwnRefused(key, outcome);
    }
    this.working.markRecovered(key);
    return null;
  }

  #apply(key: string, command: Command, asked: boolean): unknown {
    const { decider, at, maxAppendBytes, noSpace } = this.#options;
    const before = this.working.get(key);
    let decision: Decision<Event, Volatile, Effect>;
    try {
      decision = decider.decide(before, command, { at });
    } catch (error) {
      if (error instanceof BrokerError) return error;
      throw error;
    }
    if (decision.events.length > 0 && noSpace !== null) return noSpace;
    const { entries, sizeBytes } = this.#encoded(key, decision.events);
    if (asked && decision.large !== true && sizeBytes > maxAppendBytes) {
      return tooLarge(command.type, sizeBytes, maxAppendBytes);
    }
    let state = before;
    for (const event of decision.events) state = decider.evolve(state, event);
    for (const event of decision.volatile) state = decider.evolve(state, event);
    if (state !== before) this.working.set(key, state);
    for (const entry of entries) this.entries.push(entry);
    for (const effect of decision.effects) this.effects.push({ key, effect });
    this.#appendBytes += sizeBytes;
    return decision.reply;
  }

  #encoded(key: string, events: readonly Event[]): { entries: JournalEntry[]; sizeBytes: number } {
    const timestampMs = this.#options.at.wall;
    let sizeBytes = 0;
    const entries = events.map((event) => {
      const value = this.#encoder.encode(JSON.stringify(this.#options.decider.encode(event)));
      sizeBytes += value.length;
      return { key, value, timestampMs };
    });
    return { entries, sizeBytes };
  }
}

function tooLarge(type: string, sizeBytes: number, maxBytes: number): BrokerError {
  return new BrokerError(
    "REQUEST_TOO_LARGE",
    `${type} would add ${sizeBytes} bytes to the journal, ${maxBytes} are allowed`,
    { sizeBytes, maxBytes },
  );
}
