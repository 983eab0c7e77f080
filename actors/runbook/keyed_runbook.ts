// Owns how the decider of executions runs in the runtime of keyed actors, and what retention says to it.
// Refuses to own any decision. Invariant: one execution is one key.
import type { JournalWords } from "../runtime/journal_retention.ts";
import type { KeyedDecider } from "../runtime/keyed_decider.ts";
import { decideRun, type RunbookCommand, type RunbookEffect } from "./decide.ts";
import { type RunbookEvent, type StepProgressed, upcastRunbookEvent } from "./events.ts";
import { evolveRun } from "./evolve.ts";
import { decodeRunState, initialRun, RUN_STATE_VERSION, type RunState } from "./state.ts";

/** The decider of executions. They have no deadlines: who carries them out keeps the time, and starts again after a crash. */
export const RUNBOOK_DECIDER: KeyedDecider<
  RunState,
  RunbookCommand,
  RunbookEvent,
  StepProgressed,
  RunbookEffect
> = {
  initial: initialRun,
  decide: decideRun,
  evolve: evolveRun,
  deadline: () => null,
  tick: () => ({ type: "Recovered" }),
  recovered: () => ({ type: "Recovered" }),
  isGone: ({ run }) => run === null,
  completeFrom: (event) => event.type === "JournalCompleted" ? event.fromOffset : null,
  encode: (event) => event,
  decode: upcastRunbookEvent,
  encodeState: (state) => state,
  decodeState: decodeRunState,
  stateVersion: RUN_STATE_VERSION,
};

/** The journal keeps what is younger than this. */
export const JOURNAL_WINDOW_MS = 90 * 24 * 3_600_000;

/** What retention says to the actor. */
export const JOURNAL_WORDS: JournalWords<RunbookCommand> = Object.freeze({
  nothing: () => ({ type: "Recovered" as const }),
  record: () => ({ type: "RecordState" as const }),
  complete: (fromOffset: number) => ({ type: "CompleteJournal" as const, fromOffset }),
});
