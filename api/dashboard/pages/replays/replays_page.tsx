// Owns the list of replay and redrive jobs with their progress, and starting a replay.
// Refuses to own a job's own page. Invariant: newest first; looked at every second.
import { useState } from "preact/hooks";
import type { Job } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import { PageHead, Panel } from "../../components/panel.tsx";
import { Progress } from "../../components/states.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { ago, count } from "../../format.ts";
import { usePaged } from "../../hooks.ts";
import { JOB_TONES, shareOf, sourcesText, targetText } from "../../jobs.ts";
import { brokerNow } from "../../live/live_overview.ts";
import type { PageProps } from "../../pages.ts";
import { hrefOf } from "../../router.ts";
import { JobPage } from "./job_page.tsx";
import { StartReplay } from "./start_replay.tsx";

const REFRESH_MS = 1_000;

export function ReplaysPage({ place }: PageProps) {
  const jobId = place.path[1];
  return jobId === undefined ? <JobList /> : <JobPage jobId={jobId} />;
}

function JobList() {
  const [isStarting, setIsStarting] = useState(false);
  const paged = usePaged<Job>("/api/replays", "replays", { everyMs: REFRESH_MS });
  return (
    <>
      <PageHead title="Replays" lead="Jobs that send messages again: replays and redrives.">
        <button type="button" class="button button-main" onClick={() => setIsStarting(true)}>
          Replay messages…
        </button>
      </PageHead>
      <Panel title="Jobs" aside="newest first" isFlush>
        <PagedTable
          caption="Replay and redrive jobs"
          columns={COLUMNS}
          paged={paged}
          rowKey={({ jobId }) => jobId}
          rowTone={({ state }) => state === "failed" ? "bad" : null}
          empty="No job was started yet."
        />
      </Panel>
      {isStarting && <StartReplay onClose={() => setIsStarting(false)} />}
    </>
  );
}

const COLUMNS: readonly Column<Job>[] = [
  {
    key: "job",
    title: "Job",
    isRowTitle: true,
    cell: (job) => (
      <div>
        <a href={hrefOf(["replays", job.jobId])}>
          {job.dryRun ? `${job.kind} (dry run)` : job.kind}
        </a>
        <div class="soft">{sourcesText(job)}</div>
      </div>
    ),
  },
  {
    key: "state",
    title: "State",
    cell: ({ state }) => <Badge tone={JOB_TONES[state]}>{state}</Badge>,
  },
  { key: "to", title: "To", cell: targetText },
  {
    key: "progress",
    title: "Progress",
    cell: (job) =>
      job.dryRun
        ? <span class="soft">counts only</span>
        : <Progress share={shareOf(job)} label={`Progress of the ${job.kind}`} />,
  },
  {
    key: "done",
    title: "Messages",
    isNumber: true,
    cell: ({ done, total, totalExact, dryRun }) =>
      `${dryRun ? "" : `${count(done)} of `}${totalExact ? "" : "≤ "}${count(total)}`,
  },
  {
    key: "by",
    title: "Started",
    cell: ({ createdAt, principal }) => `${ago(createdAt, brokerNow())} by ${principal}`,
  },
];
