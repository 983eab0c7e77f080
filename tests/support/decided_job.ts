// Owns jobs as the decider has them, for tests: commands, and what comes of them one after the other.
// Refuses to own any rule. Invariant: a state is made of its events alone.
import assert from "node:assert/strict";
import { decideJob, type JobCommand } from "../../actors/job/decide.ts";
import type { ChunkPlan, JobSpec } from "../../actors/job/events.ts";
import { evolveJob } from "../../actors/job/evolve.ts";
import { initialJob, type JobState } from "../../actors/job/state.ts";
import { BrokerError } from "../../storage/broker_error.ts";

export const AT = { wall: 1_000, monotonic: 5 };

export const SPEC: JobSpec = {
  kind: "redrive",
  sources: [
    { topic: "dlq.t", topicId: "d", partition: 0, from: 10, to: 20 },
    { topic: "dlq.t", topicId: "d", partition: 1, from: 0, to: 5 },
  ],
  target: { kind: "origin" },
  filter: {},
  includeRedriven: false,
  ratePerSecond: null,
};

export const BY = { principal: "ann", reason: null };

export const CREATE: Extract<JobCommand, { type: "Create" }> = {
  type: "Create",
  fingerprint: "f",
  ...BY,
  dryRun: false,
  spec: SPEC,
  count: { total: 15, totalExact: true, skipped: 0, alreadyRedriven: 0 },
};

export const START: JobCommand = { type: "Start", producer: { producerId: 7, producerEpoch: 0 } };

export function plan(state: JobState, to: number): ChunkPlan {
  const { chunk, source, next, sequences } = state.job!;
  const send = { topic: "t", topicId: "T", partition: 0, runs: [{ from: next, to }] };
  const sends = [{ ...send, baseSequence: sequences["T/0"] ?? 0 }];
  return { chunk, source, next: to, sends, skipped: 0, alreadyRedriven: 0 };
}

export function given(...commands: (JobCommand | ((state: JobState) => JobCommand))[]) {
  let state = initialJob("j");
  for (const command of commands) {
    state = run(state, typeof command === "function" ? command(state) : command).state;
  }
  return state;
}

export function run(state: JobState, command: JobCommand) {
  const { events, reply, effects } = decideJob(state, command, { at: AT });
  const after = events.reduce(evolveJob, state);
  assert.deepEqual(reply, after);
  return { state: after, types: events.map(({ type }) => type), effects };
}

export function refused(state: JobState, command: JobCommand): string {
  try {
    run(state, command);
  } catch (error) {
    assert.ok(error instanceof BrokerError);
    return error.code;
  }
  return "taken";
}

export const planned = (to: number) => (state: JobState): JobCommand => ({
  type: "Advance",
  completed: null,
  plan: plan(state, to),
});

export const completed = (undeliverable: number[] = []) => (state: JobState): JobCommand => ({
  type: "Advance",
  completed: { chunk: state.job!.plan!.chunk, undeliverable, elapsedMs: 10 },
  plan: null,
});
