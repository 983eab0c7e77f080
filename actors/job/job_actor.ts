// Owns the actor of all jobs, kept running over the partition of `__jobs` that is its journal.
// Refuses to own decisions (decide.ts) and who works on a job (job_set.ts).
// Invariant: one actor, which starts again from its journal when it fails.
import { supervisedActor, type SupervisedActorPorts } from "../partition/supervised_actor.ts";
import type { Crc32c } from "../../storage/ports.ts";
import type { Partition } from "../partition/partition.ts";
import { partitionJournal } from "../partition/partition_journal.ts";
import type { KeyedActor } from "../runtime/keyed_actor.ts";
import type { Supervised } from "../runtime/supervisor.ts";
import type { JobCommand, JobEffect } from "./decide.ts";
import type { JobEvent } from "./events.ts";
import { JOB_DECIDER } from "./keyed_job.ts";
import type { JobState } from "./state.ts";

export type JobActor = KeyedActor<JobState, JobCommand, JobEvent, never, JobEffect>;

export interface JobActorPorts extends SupervisedActorPorts {
  readonly crc32c: Crc32c;
}

/** The actor of all jobs, not started yet; `run` hears of each job that somebody must work on. */
export function supervisedJobs(options: {
  readonly partition: Partition;
  readonly ports: JobActorPorts;
  readonly run: (jobId: string, effect: JobEffect) => void;
}): Supervised<JobActor> {
  const { partition, run: perform, ports } = options;
  const journal = () => partitionJournal(partition, ports.crc32c);
  return supervisedActor("jobs/0", { decider: JOB_DECIDER, journal, perform }, ports);
}
