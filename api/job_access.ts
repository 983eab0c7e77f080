// Owns who may see and steer a job: whoever may do now what it does.
// Refuses to own starting one (access_table.ts, routes/redrive.ts) and the job itself (actors/job).
// Invariant: for everybody else there is no such job, in the words of one that never was.
import type { Broker } from "../actors/broker.ts";
import { DEAD_LETTER_PREFIX } from "../actors/group/retry/dead_letter_record.ts";
import { unknownJob } from "../actors/job/unknown_job.ts";
import type { JobView } from "../actors/job/types.ts";
import type { Access } from "./auth/access.ts";
import { groupNeed, topicNeed } from "./auth/access_entry.ts";
import type { Authorizer, Need } from "./auth/authorizer.ts";

/** What it takes to do what the job does: to read where it reads, and to change where it sends. */
export function jobNeeds({ sources, target }: JobView): Need[] {
  const read = [...new Set(sources.map(({ topic }) => topic))];
  const needed = read.map((topic) => topicNeed("read", topic));
  if (target.kind === "group") return [...needed, groupNeed("alter", target.group)];
  if (target.kind === "topic") return [...needed, topicNeed("write", target.topic)];
  const origins = read.map((letters) =>
    letters.startsWith(DEAD_LETTER_PREFIX) ? letters.slice(DEAD_LETTER_PREFIX.length) : letters
  );
  return [...needed, ...origins.map((topic) => topicNeed("write", topic))];
}

/** Whether the job exists for the caller. */
export function seesJob(authorizer: Authorizer, access: Access, job: JobView): boolean {
  if (authorizer.isAdministrator(access)) return true;
  const needs = jobNeeds(job);
  // Of a redrive that found no dead letters nothing is left but who asked for it.
  if (needs.length === 0) return job.principal === access.principal;
  return needs.every(({ operation, resource, name }) =>
    authorizer.allows(access, operation, resource, name)
  );
}

/** The job; rejects with NOT_FOUND, also where it does not exist for the caller. */
export async function visibleJob(
  { broker, authorizer }: { broker: Pick<Broker, "jobs">; authorizer: Authorizer },
  access: Access,
  jobId: string,
): Promise<JobView> {
  const job = await broker.jobs.get(jobId);
  if (!seesJob(authorizer, access, job)) throw unknownJob(jobId);
  return job;
}
