// Owns the tests of which jobs that ended are still kept, and whose are forgotten first.
// Refuses to own the life of a job (job_decide_test.ts).
import assert from "node:assert/strict";
import type { JobCommand } from "../actors/job/decide.ts";
import { countOpen } from "../actors/job/job_queries.ts";
import { countKept, finishedBeyond } from "../actors/job/kept_jobs.ts";
import type { JobState } from "../actors/job/state.ts";
import type { Owner } from "../actors/ownership.ts";
import { AT, BY, completed, CREATE, given, planned, START } from "./support/decided_job.ts";

Deno.test("the oldest jobs that ended are forgotten, those that have redriven something last", () => {
  const states = new Map<string, JobState>();
  const add = (jobId: string, createdAt: number, state: JobState) => {
    states.set(jobId, { jobId, job: { ...state.job!, createdAt } });
  };
  const cancel: JobCommand = { type: "Cancel", ...BY };
  const idle = given(CREATE, START, cancel);
  const redrove = given(CREATE, START, planned(14), completed(), cancel);
  for (const at of [1, 2, 3]) add(`idle ${at}`, at, idle);
  for (const at of [0, 1, 2]) add(`redrove ${at}`, at, redrove);
  add("open", 0, given(CREATE, START));
  add("under way", 0, given(CREATE, START, planned(14), cancel));
  const gone = finishedBeyond(states, { ...KEPT, finished: 1, redrives: 2 }, LATER);
  assert.deepEqual(gone, ["idle 1", "idle 2", "redrove 0"]);
  assert.equal(countOpen(states), 1);
});

const KEPT = { finished: 3, redrives: 3, dryRuns: 3, windowMs: 100, most: 6 };

/** A window after all that is done `AT`. */
const LATER = AT.wall + KEPT.windowMs;

const GOOD = { tenant: "good", principal: "victim" };

const EVIL = { tenant: "evil", principal: "mal" };

/** Jobs that ended `AT`, one after the other. */
function endedJobs(...jobs: readonly (readonly [string, Owner | null, boolean])[]) {
  const cancel: JobCommand = { type: "Cancel", ...BY };
  return new Map(jobs.map(([jobId, owner, dryRun], createdAt) => {
    const create = { ...CREATE, dryRun, ...(owner === null ? {} : { owner }) } as JobCommand;
    const state = dryRun ? given(create) : given(create, START, cancel);
    return [jobId, { jobId, job: { ...state.job!, createdAt } }];
  }));
}

const ofEvil = (count: number, dryRun: boolean) =>
  Array.from({ length: count }, (_, index) => [`e${index}`, EVIL, dryRun] as const);

Deno.test("dry runs make the broker forget dry runs alone, those of the owner that has most first", () => {
  const states = endedJobs(
    ["real", GOOD, false],
    ["dry", GOOD, true],
    ["nobody's", null, true],
    ...ofEvil(50, true),
  );
  const gone = finishedBeyond(states, KEPT, LATER);
  assert.deepEqual(gone, ofEvil(49, true).map(([jobId]) => `${jobId}`));
  assert.equal(countKept(states, EVIL, { windowMs: KEPT.windowMs, now: AT.wall }), 0);
});

Deno.test("job that ended is forgotten when its owner has most, and while its key counts only when nothing else fits", () => {
  const states = endedJobs(["g0", GOOD, false], ["g1", GOOD, false], ...ofEvil(3, false));
  assert.deepEqual(finishedBeyond(states, KEPT, LATER - 1), []);
  assert.deepEqual(finishedBeyond(states, KEPT, LATER), ["e0", "g0"]);
  const young = { windowMs: KEPT.windowMs, now: LATER - 1 };
  assert.equal(countKept(states, EVIL, young), 3);
  assert.equal(countKept(states, EVIL, { ...young, now: LATER }), 0);
  const flooded = endedJobs(["g0", GOOD, false], ["g1", GOOD, false], ...ofEvil(10, false));
  const gone = finishedBeyond(flooded, KEPT, LATER - 1);
  assert.deepEqual(gone, ofEvil(6, false).map(([jobId]) => `${jobId}`));
});

Deno.test("job of an owner that has less than its share stays, though those of another are all too young to go", () => {
  const states = endedJobs(["g0", GOOD, false], ...ofEvil(5, false));
  for (const [jobId, state] of states) {
    if (jobId !== "g0") states.set(jobId, { jobId, job: { ...state.job, finishedAt: LATER } });
  }
  assert.deepEqual(finishedBeyond(states, KEPT, LATER), []);
});
