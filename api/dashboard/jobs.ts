// Owns what pages share of replay and redrive jobs: starting them, waiting for a dry run, what they are in words.
// Refuses to own the pages. Invariant: a wait for a dry run is bounded, and says so when it gives up.
import type { Job } from "./answers.ts";
import { pathOf } from "./api_client.ts";
import type { Tone } from "./tone.ts";
import { api } from "./session.ts";

const LOOK_MS = 300;
const MAX_WAIT_MS = 30_000;

export const JOB_TONES: Readonly<Record<Job["state"], Tone>> = {
  pending: "info",
  running: "info",
  paused: "warn",
  completed: "ok",
  failed: "bad",
  cancelled: "quiet",
};

export function isOver({ state }: Job): boolean {
  return state === "completed" || state === "failed" || state === "cancelled";
}

/** Starts a job that only counts, and waits until it has. */
export async function dryRun(path: string, body: object): Promise<Job> {
  let job = await api.post<Job>(path, { ...body, dryRun: true });
  const giveUpAt = Date.now() + MAX_WAIT_MS;
  while (!isOver(job)) {
    if (Date.now() > giveUpAt) throw new Error(`the dry run ${job.jobId} still counts`);
    const { promise, resolve } = Promise.withResolvers<void>();
    setTimeout(resolve, LOOK_MS);
    await promise;
    job = await api.get<Job>(pathOf("api", "replays", job.jobId));
  }
  if (job.error !== null) throw new Error(`${job.error.code}: ${job.error.detail}`);
  return job;
}

/** Where messages come from: `orders 0 from 5 to 90`, by topic. */
export function sourcesText({ sources }: Job): string {
  const byTopic = Map.groupBy(sources, ({ topic }) => topic);
  return [...byTopic].map(([topic, list]) => {
    const [only] = list;
    return list.length === 1 && only !== undefined
      ? `${topic} ${only.partition}, offsets ${only.from} to ${only.to}`
      : `${topic}, ${list.length} partitions`;
  }).join("; ");
}

export function targetText({ target }: Job): string {
  if (target.kind === "topic") return `topic ${target.topic}`;
  return target.kind === "group" ? `group ${target.group} alone` : "where they came from";
}

/** From 0 to 1; a job that has nothing to do is done when it is over. */
export function shareOf(job: Job): number {
  if (job.total === 0) return isOver(job) ? 1 : 0;
  return (job.done + job.skipped + job.alreadyRedriven) / job.total;
}
