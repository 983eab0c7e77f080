// Owns a job's page: how far it is, what was done to it, and steering it.
// Refuses to own the job. Invariant: looked at every second until it is over.
import { useState } from "preact/hooks";
import type { Job } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { Badge } from "../../components/badge.tsx";
import { Facts, Figure, Figures, PageHead, Panel } from "../../components/panel.tsx";
import { ReasonDialog } from "../../components/reason_dialog.tsx";
import { Notice, Progress, WhenLoaded } from "../../components/states.tsx";
import { Table } from "../../components/table.tsx";
import { tell } from "../../components/toasts.tsx";
import { count, dateTime, shortCount } from "../../format.ts";
import { useLoaded } from "../../hooks.ts";
import { isOver, JOB_TONES, shareOf, sourcesText, targetText } from "../../jobs.ts";
import { hrefOf } from "../../router.ts";
import { api } from "../../session.ts";

const REFRESH_MS = 1_000;

type Action = "pause" | "resume" | "cancel";

const ACTIONS: Readonly<Record<Action, { says: string; isDangerous: boolean }>> = {
  pause: {
    says: "It stops after the messages under way, until it is resumed.",
    isDangerous: false,
  },
  resume: { says: "It goes on where it stopped.", isDangerous: false },
  cancel: {
    says: "It ends after the messages under way, for good. What was sent stays sent.",
    isDangerous: true,
  },
};

export function JobPage({ jobId }: { jobId: string }) {
  const path = pathOf("api", "replays", jobId);
  const loaded = useLoaded(jobId, (signal) => api.get<Job>(path, {}, signal), {
    everyMs: REFRESH_MS,
  });
  const [open, setOpen] = useState<Action | null>(null);
  const job = loaded.value;
  return (
    <>
      <PageHead
        title={job === null
          ? "Job"
          : `${job.kind === "redrive" ? "Redrive" : "Replay"} of ${sourcesText(job)}`}
        lead={<a href={hrefOf(["replays"])}>All jobs</a>}
      >
        {job !== null && actionsOf(job).map((action) => (
          <button
            key={action}
            type="button"
            class={ACTIONS[action].isDangerous ? "button button-danger" : "button"}
            onClick={() => setOpen(action)}
          >
            {titleOf(action)}…
          </button>
        ))}
      </PageHead>
      <WhenLoaded loaded={loaded}>{(value) => <JobState job={value} />}</WhenLoaded>
      {open !== null && (
        <ReasonDialog
          title={`${titleOf(open)} the job`}
          confirm={`${titleOf(open)} the job`}
          isDangerous={ACTIONS[open].isDangerous}
          isReasonNeeded={false}
          onClose={() => setOpen(null)}
          action={async (reason) => {
            const { state } = await api.post<Job>(`${path}:${open}`, { reason });
            tell(`The job is ${state}`);
            loaded.reload();
          }}
        >
          <p>{ACTIONS[open].says}</p>
        </ReasonDialog>
      )}
    </>
  );
}

function actionsOf(job: Job): Action[] {
  if (job.state === "completed" || job.state === "cancelled") return [];
  if (job.state === "failed") return ["resume"];
  return job.state === "paused" ? ["resume", "cancel"] : ["pause", "cancel"];
}

function titleOf(action: Action): string {
  return { pause: "Pause", resume: "Resume", cancel: "Cancel" }[action];
}

function JobState({ job }: { job: Job }) {
  const { state, done, total, totalExact, skipped, alreadyRedriven, rate, error, steps } = job;
  return (
    <>
      {error !== null && (
        <Notice tone={isOver(job) ? "bad" : "warn"}>
          <p>{error.code}: {error.detail}</p>
        </Notice>
      )}
      <Panel
        title="Progress"
        aside={<Badge tone={JOB_TONES[state]}>{job.dryRun ? `dry run ${state}` : state}</Badge>}
      >
        {!job.dryRun && <Progress share={shareOf(job)} label="Progress of the job" />}
        <Figures>
          <Figure
            name={job.dryRun ? "Would be sent" : "Sent"}
            value={count(job.dryRun ? total : done)}
            note={job.dryRun ? undefined : `of ${totalExact ? "" : "at most "}${count(total)}`}
          />
          <Figure name="Messages a second" value={shortCount(rate)} note="while it ran" />
          <Figure name="Left out" value={count(skipped)} note="origin gone or unknown" />
          <Figure name="Redriven before" value={count(alreadyRedriven)} />
        </Figures>
      </Panel>
      <div class="columns">
        <Panel title="What it does">
          <Facts
            facts={[
              ["From", sourcesText(job)],
              ["To", targetText(job)],
              [
                "At most",
                job.ratePerSecond === null ? "as fast as it goes" : `${job.ratePerSecond} a second`,
              ],
              [
                "Filter",
                Object.entries(job.filter ?? {}).map(([name, value]) => `${name} ${value}`)
                  .join(", ") || "none",
              ],
              ["Reason", job.reason ?? "–"],
              ["By", job.principal],
              ["Id", job.jobId],
            ]}
          />
        </Panel>
        <Panel title="What was done to it" isFlush>
          <Table
            caption="What was done to the job"
            columns={[
              { key: "at", title: "When", isRowTitle: true, cell: ({ at }) => dateTime(at) },
              { key: "action", title: "What", cell: ({ action }) => action },
              {
                key: "who",
                title: "Who",
                cell: ({ principal }) => principal ?? "the broker",
              },
              { key: "why", title: "Why", cell: ({ reason }) => reason ?? "–" },
            ]}
            rows={steps}
            rowKey={(step) => `${steps.indexOf(step)}`}
            empty=""
          />
        </Panel>
      </div>
    </>
  );
}
