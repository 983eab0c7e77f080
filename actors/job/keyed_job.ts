// Owns how the job decider runs in the runtime of keyed actors, and what retention says to it.
// Refuses to own any decision. Invariant: one job is one key.
import type { JournalWords } from "../runtime/journal_retention.ts";
import type { KeyedDecider } from "../runtime/keyed_decider.ts";
import { decideJob, type JobCommand, type JobEffect } from "./decide.ts";
import { type JobEvent, upcastJobEvent } from "./events.ts";
import { evolveJob } from "./evolve.ts";
import { decodeJobState, initialJob, JOB_STATE_VERSION, type JobState } from "./state.ts";

/** The job decider. Jobs have no deadlines: runners wait by themselves, and start again after a crash. */
export const JOB_DECIDER: KeyedDecider<JobState, JobCommand, JobEvent, never, JobEffect> = {
  initial: initialJob,
  decide: decideJob,
  evolve: evolveJob,
  deadline: () => null,
  tick: () => ({ type: "Recovered" }),
  recovered: () => ({ type: "Recovered" }),
  isGone: ({ job }) => job === null,
  completeFrom: (event) => event.type === "JournalCompleted" ? event.fromOffset : null,
  encode: (event) => event,
  decode: upcastJobEvent,
  encodeState: (state) => state,
  decodeState: decodeJobState,
  stateVersion: JOB_STATE_VERSION,
};

/** The journal keeps what is younger than this: it is the audit of who replayed what. */
export const JOURNAL_WINDOW_MS = 90 * 24 * 3_600_000;

/** What retention says to the actor. */
export const JOURNAL_WORDS: JournalWords<JobCommand> = Object.freeze({
  nothing: () => ({ type: "Recovered" as const }),
  record: () => ({ type: "RecordState" as const }),
  complete: (fromOffset: number) => ({ type: "CompleteJournal" as const, fromOffset }),
});
