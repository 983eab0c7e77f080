// Owns the actor of all jobs, kept running over the partition of `__jobs` that is its journal.
// Refuses to own decisions (decide.ts) and who works on a job (job_set.ts).
// Invariant: one actor, which starts again from its journal when it fails.
import type { Clock, Crc32c, Timers } from "../../storage/ports.ts";
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type { Partition } from "../partition/partition.ts";
import { partitionJournal } from "../partition/partition_journal.ts";
import { KeyedActor } from "../runtime/keyed_actor.ts";
import { DEFAULT_KEYED_ACTOR_BOUNDS } from "../runtime/keyed_options.ts";
import type { RuntimeLog } from "../runtime/reports.ts";
import { DEFAULT_RESTART_BOUNDS } from "../runtime/restart_policy.ts";
import { Supervised } from "../runtime/supervisor.ts";
import type { JobCommand, JobEffect } from "./decide.ts";
import type { JobEvent } from "./events.ts";
import { JOB_DECIDER } from "./keyed_job.ts";
import type { JobState } from "./state.ts";

export type JobActor = KeyedActor<JobState, JobCommand, JobEvent, never, JobEffect>;

export interface JobActorPorts {
  readonly snapshots: SnapshotStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly crc32c: Crc32c;
  readonly runtimeLog: RuntimeLog;
}

/** The actor of all jobs, not started yet; `run` hears of each job that somebody must work on. */
export function supervisedJobs(options: {
  readonly partition: Partition;
  readonly ports: JobActorPorts;
  readonly run: (jobId: string, effect: JobEffect) => void;
}): Supervised<JobActor> {
  const { partition, run, ports: { snapshots, clock, timers, crc32c, runtimeLog: log } } = options;
  const id = "jobs/0";
  return new Supervised<JobActor>({
    id,
    bounds: DEFAULT_RESTART_BOUNDS,
    clock,
    timers,
    log,
    start: (onFailure) =>
      KeyedActor.open({
        id,
        decider: JOB_DECIDER,
        journal: partitionJournal(partition, crc32c),
        snapshots,
        clock,
        timers,
        log,
        onFailure,
        bounds: DEFAULT_KEYED_ACTOR_BOUNDS,
        perform: run,
      }),
  });
}
