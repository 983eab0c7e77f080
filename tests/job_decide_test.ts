// Owns the tests of the job decider: its life, its chunks one by one, and that its events are its state.
// Refuses to own how long jobs are kept (job_keeping_test.ts).
import assert from "node:assert/strict";
import fc from "fast-check";
import { decideJob, type JobCommand } from "../actors/job/decide.ts";
import { type JobEvent, upcastJobEvent } from "../actors/job/events.ts";
import { evolveJob } from "../actors/job/evolve.ts";
import { hasOffset, offsetsIn, runsOf, union } from "../actors/job/runs.ts";
import { nextSequence } from "../actors/job/sequences.ts";
import { initialJob, type JobState, needsRunner, viewOf } from "../actors/job/state.ts";
import { BrokerError } from "../storage/broker_error.ts";
import {
  AT,
  BY,
  completed,
  CREATE,
  given,
  plan,
  planned,
  refused,
  run,
  SPEC,
  START,
} from "./support/decided_job.ts";

Deno.test("a job counts, moves and numbers only when a chunk is completed", () => {
  const open = given(CREATE, START, planned(14));
  assert.deepEqual([open.job!.next, open.job!.done, open.job!.sequences], [10, 0, {}]);
  const { job } = given(CREATE, START, planned(14), completed());
  assert.deepEqual([job!.next, job!.done, job!.chunk], [14, 4, 1]);
  assert.deepEqual(job!.sequences, { "T/0": 4 });
  assert.deepEqual(job!.redriven, [[{ from: 10, to: 14 }], []]);
  const second = given(CREATE, START, planned(14), completed(), planned(20), completed());
  assert.deepEqual([second.job!.source, second.job!.next], [1, 0]);
  assert.deepEqual(second.job!.redriven, [[{ from: 10, to: 20 }], []]);
});

Deno.test("a job takes a plan only when the chunk before is completed, and a completion only once", () => {
  const open = given(CREATE, START, planned(14));
  assert.deepEqual(run(open, planned(15)(open)).types, []);
  const done = given(CREATE, START, planned(14), completed());
  const again = { chunk: 0, undeliverable: [], elapsedMs: 10 };
  assert.deepEqual(run(done, { type: "Advance", completed: again, plan: null }).types, []);
  const stale = { ...plan(done, 16), chunk: 0 };
  assert.deepEqual(run(done, { type: "Advance", completed: null, plan: stale }).types, []);
  const next = { ...plan(done, 16), chunk: 1 };
  const both: JobCommand = { type: "Advance", completed: again, plan: next };
  assert.deepEqual(run(open, both).types, ["ChunkCompleted", "ChunkPlanned"]);
});

Deno.test("a send whose target was gone is skipped: it takes no sequence and is not redriven", () => {
  const { job } = given(CREATE, START, planned(14), completed([0]));
  assert.deepEqual([job!.done, job!.skipped, job!.sequences], [0, 4, {}]);
  assert.deepEqual(job!.redriven, [[], []]);
  assert.equal(job!.next, 14);
});

Deno.test("a paused or cancelled job finishes the chunk under way and plans no more", () => {
  for (const type of ["Pause", "Cancel"] as const) {
    const held = given(CREATE, START, planned(14), { type, ...BY });
    assert.equal(needsRunner(held), true, "the chunk may be half done");
    const next = { ...plan(held, 16), chunk: 1 };
    const settled = run(held, {
      type: "Advance",
      completed: { chunk: 0, undeliverable: [], elapsedMs: 1 },
      plan: next,
    });
    assert.deepEqual(settled.types, ["ChunkCompleted"]);
    assert.equal(settled.state.job!.done, 4);
    assert.equal(needsRunner(settled.state), false);
    assert.deepEqual(settled.effects, []);
  }
});

Deno.test("a job that is resumed keeps its identity while a chunk is under way, and else gets a new one", () => {
  const under = given(CREATE, START, planned(14), { type: "Pause", ...BY }, {
    type: "Resume",
    ...BY,
  });
  assert.equal(under.job!.phase, "running");
  const other: JobCommand = { type: "Start", producer: { producerId: 9, producerEpoch: 0 } };
  assert.equal(run(under, other).state.job!.producer!.producerId, 7);
  const idle = given(CREATE, START, planned(14), completed(), { type: "Pause", ...BY }, {
    type: "Resume",
    ...BY,
  });
  assert.equal(idle.job!.phase, "pending");
  const restarted = run(idle, other).state.job!;
  assert.deepEqual([restarted.producer!.producerId, restarted.sequences], [9, {}]);
});

Deno.test("a chunk whose partition has forgotten the producer goes on under another, and counts what was sent once", () => {
  const start = given(CREATE, START, planned(14), completed());
  const sends = [0, 1].map((partition) => ({
    topic: "t",
    topicId: "T",
    partition,
    baseSequence: partition === 0 ? 4 : 0,
    runs: [{ from: 14 + partition, to: 15 + partition }],
  }));
  const open = run(start, {
    type: "Advance",
    completed: null,
    plan: { chunk: 1, source: 0, next: 16, sends, skipped: 0, alreadyRedriven: 0 },
  }).state;
  const producer = { producerId: 8, producerEpoch: 0 };
  assert.deepEqual(run(open, { type: "Reidentify", chunk: 0, unsent: [0], producer }).types, []);
  const { job } = run(open, { type: "Reidentify", chunk: 1, unsent: [0], producer }).state;
  assert.deepEqual([job!.done, job!.producer, job!.sequences], [5, producer, {}]);
  assert.deepEqual(job!.plan!.sends, [{ ...sends[0], baseSequence: 0 }]);
  assert.deepEqual(job!.redriven[0], [{ from: 10, to: 14 }, { from: 15, to: 16 }]);
  const after = run({ jobId: "j", job }, completed()({ jobId: "j", job })).state.job!;
  assert.deepEqual([after.done, after.next, after.sequences], [6, 16, { "T/0": 1 }]);
});

Deno.test("a job that ended stays as it is, one that failed may be resumed", () => {
  const failed = given(CREATE, START, {
    type: "Fail",
    error: { code: "CORRUPT_LOG", detail: "no" },
  });
  assert.equal(failed.job!.error!.code, "CORRUPT_LOG");
  assert.equal(run(failed, { type: "Resume", ...BY }).state.job!.error, null);
  const early: JobCommand = { type: "Complete" };
  assert.deepEqual(run(given(CREATE, START), early).types, [], "something is left");
  const finished = given(
    CREATE,
    START,
    planned(20),
    completed(),
    planned(5),
    completed(),
    early,
  );
  assert.equal(finished.job!.phase, "completed");
  for (const type of ["Pause", "Resume", "Cancel"] as const) {
    assert.equal(refused(finished, { type, ...BY }), "INVALID_JOB_STATE");
  }
  assert.equal(
    refused(given(CREATE, { type: "Cancel", ...BY }), { type: "Resume", ...BY }),
    "INVALID_JOB_STATE",
  );
  assert.equal(refused(initialJob("x"), { type: "Describe" }), "NOT_FOUND");
  assert.deepEqual(run(finished, { type: "Forget" }).state.job, null);
  assert.deepEqual(run(failed, { type: "Forget" }).types, []);
});

Deno.test("the same request makes one job, another under its name is refused, a dry run is done at once", () => {
  const made = given(CREATE);
  assert.deepEqual(run(made, CREATE).types, []);
  assert.equal(
    refused(made, { ...CREATE, fingerprint: "g" } as JobCommand),
    "IDEMPOTENCY_KEY_REUSED",
  );
  assert.deepEqual(run(made, { type: "Repeat", fingerprint: "f" }).types, []);
  assert.equal(refused(made, { type: "Repeat", fingerprint: "g" }), "IDEMPOTENCY_KEY_REUSED");
  assert.equal(refused(initialJob("j"), { type: "Repeat", fingerprint: "f" }), "NOT_FOUND");
  const dry = given({ ...CREATE, dryRun: true } as JobCommand);
  assert.deepEqual([dry.job!.phase, dry.job!.total, dry.job!.done], ["completed", 15, 0]);
  assert.equal(needsRunner(dry), false);
});

Deno.test("sequences go on from 2^31 - 1 to 0", () => {
  assert.equal(nextSequence(0x7fffffff, 1), 0);
  assert.equal(nextSequence(0x7ffffff0, 0x20), 0x10);
});

Deno.test("runs of offsets are the set of them", () => {
  const offsets = fc.uniqueArray(fc.nat(60)).map((all) => all.sort((a, b) => a - b));
  fc.assert(fc.property(offsets, offsets, (a, b) => {
    const runs = union(runsOf(a), runsOf(b));
    const all = [...new Set([...a, ...b])].sort((x, y) => x - y);
    assert.deepEqual([...offsetsIn(runs)], all);
    assert.deepEqual(runs, runsOf(all));
    for (let offset = 0; offset <= 60; offset++) {
      assert.equal(hasOffset(runs, offset), all.includes(offset));
    }
  }));
});

/** What a runner would do next, what an operator may do, and what comes late or twice. */
const anyCommand = fc.oneof(
  { weight: 6, arbitrary: fc.constant("step" as const) },
  fc.constantFrom<JobCommand["type"] | "late" | "crash">(
    "Start",
    "Pause",
    "Resume",
    "Cancel",
    "Fail",
    "Complete",
    "Forget",
    "Create",
    "Recovered",
    "RecordState",
    "late",
    "crash",
  ),
);

Deno.test("whatever comes in whatever order, each offset is completed at most once, in order, and events are the state", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(anyCommand, fc.integer({ min: 1, max: 4 })), { maxLength: 60 }),
      (script) => {
        let state = run(initialJob("j"), CREATE).state;
        const journal: JobEvent[] = [...decideJob(initialJob("j"), CREATE, { at: AT }).events];
        const sent: string[] = [];
        for (const [kind, size] of script) {
          if (kind === "crash") {
            state = journal.map((event) => upcastJobEvent(JSON.parse(JSON.stringify(event))))
              .reduce(evolveJob, initialJob("j"));
            continue;
          }
          const command = commandOf(kind, size, state);
          if (command === null) continue;
          try {
            const { events } = decideJob(state, command, { at: AT });
            for (const event of events) {
              if (event.type === "JobForgotten" || event.type === "JobCreated") sent.length = 0;
              if (event.type === "ChunkCompleted") {
                for (const { runs } of state.job!.plan!.sends) {
                  for (const offset of offsetsIn(runs)) {
                    sent.push(
                      `${state.job!.plan!.source}/${offset}`,
                    );
                  }
                }
              }
              journal.push(event);
              state = evolveJob(state, event);
            }
          } catch (error) {
            assert.ok(error instanceof BrokerError);
          }
          const expected = SPEC.sources.flatMap(({ from, to }, index) =>
            [...offsetsIn([{ from, to }])].map((offset) => `${index}/${offset}`)
          );
          assert.deepEqual(sent, expected.slice(0, sent.length));
          assert.equal(state.job?.done ?? 0, state.job === null ? 0 : sent.length);
        }
        assert.deepEqual(journal.reduce(evolveJob, initialJob("j")), state);
      },
    ),
    { numRuns: 300 },
  );
});

function commandOf(
  kind: JobCommand["type"] | "step" | "late" | "crash",
  size: number,
  state: JobState,
): JobCommand | null {
  const { job } = state;
  if (kind === "Create") return CREATE;
  if (kind === "Start") return START;
  if (kind === "Fail") return { type: "Fail", error: { code: "X", detail: "x" } };
  if (kind === "Pause" || kind === "Resume" || kind === "Cancel") return { type: kind, ...BY };
  if (kind === "late") {
    const chunk = Math.max(0, (job?.chunk ?? 0) - size);
    return { type: "Advance", completed: { chunk, undeliverable: [], elapsedMs: 0 }, plan: null };
  }
  if (kind !== "step") return { type: kind } as JobCommand;
  if (job === null) return CREATE;
  if (job.phase === "pending") return START;
  if (job.plan !== null) {
    return {
      type: "Advance",
      completed: { chunk: job.plan.chunk, undeliverable: [], elapsedMs: 1 },
      plan: null,
    };
  }
  const { to } = SPEC.sources[job.source]!;
  if (job.next >= to) return { type: "Complete" };
  return { type: "Advance", completed: null, plan: plan(state, Math.min(job.next + size, to)) };
}

Deno.test("a job is done in the rights of who made it, until somebody else resumes it", () => {
  const owner = { principal: "ann", tenant: "acme" };
  const other = { principal: "bob", tenant: "acme" };
  const made = given({ ...CREATE, owner }, START);
  assert.deepEqual(made.job!.owner, owner);
  const paused = run(made, { type: "Pause", ...BY }).state;
  assert.deepEqual(paused.job!.owner, owner);
  const resume = { type: "Resume", ...BY } as const;
  assert.deepEqual(run(paused, resume).state.job!.owner, owner);
  assert.deepEqual(run(paused, { ...resume, owner: other }).state.job!.owner, other);
  assert.equal(run(paused, { ...resume, owner: null }).state.job!.owner, null);
});

Deno.test("a job of a journal or snapshot of before there were owners is an administrator's", () => {
  const { events } = decideJob(initialJob("j"), CREATE, { at: AT });
  assert.equal(JSON.stringify(events).includes("owner"), false, "as older releases wrote");
  const state = events.map((event) => upcastJobEvent(JSON.parse(JSON.stringify(event))))
    .reduce(evolveJob, initialJob("j"));
  assert.equal(state.job!.owner, null);
  const { owner: _, ...older } = state.job!;
  const paused = run({ ...state, job: older }, { type: "Pause", ...BY }).state;
  assert.equal(run(paused, { type: "Resume", ...BY }).state.job!.owner, null);
});

Deno.test("the rate of a job that ran for less than a second is no more than what it has done", () => {
  const job = given(CREATE, START).job!;
  const rate = (done: number, activeMs: number) =>
    viewOf("j", { ...job, done, activeMs }, null).rate;
  assert.deepEqual([rate(1, 14), rate(0, 0), rate(100, 4_000)], [1, 0, 25]);
});
