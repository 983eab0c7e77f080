// Owns the figures of the first page: correctness, stability, the machine.
// Refuses to own sums (summary.ts). Invariant: a figure that cannot be on one node says so instead of looking good.
import { Figure, Figures, Panel } from "../../components/panel.tsx";
import { bytes, count, duration, milliseconds, percent } from "../../format.ts";
import type { OverviewState } from "../../live/overview_state.ts";
import { hrefOf } from "../../router.ts";
import { replaySuccess, shareOf, type Sums, sumsOf } from "./summary.ts";

export function FigurePanels({ overview }: { overview: OverviewState }) {
  const now = overview.now!;
  const sums = sumsOf(overview.history);
  const span = `in ${duration(Math.max(1, Math.round(sums.minutes * 60)))}`;
  return (
    <>
      <div class="columns">
        <Correctness sums={sums} span={span} jobs={now.jobs} />
        <Stability sums={sums} span={span} point={now.point} />
      </div>
      <Machine history={overview.history} point={now.point} />
    </>
  );
}

type Point = NonNullable<OverviewState["now"]>["point"];

function Correctness(
  { sums, span, jobs }: { sums: Sums; span: string; jobs: Readonly<Record<string, number>> },
) {
  const success = replaySuccess(jobs);
  const sent = sums.published + sums.duplicatesSuppressed;
  const failed = jobs.failed ?? 0;
  const under = (jobs.running ?? 0) + (jobs.pending ?? 0) + (jobs.paused ?? 0);
  const ended = `${count(jobs.completed ?? 0)} completed, ${count(failed)} failed`;
  return (
    <Panel
      title="Correctness"
      aside={span}
      actions={<a href={hrefOf(["dead-letters"])}>Dead letters</a>}
    >
      <Figures>
        <Figure
          name="Duplicates suppressed"
          value={count(sums.duplicatesSuppressed)}
          note={shareWords(sums.duplicatesSuppressed, sent, "messages sent")}
        />
        <Figure
          name="Dead letters"
          value={count(sums.deadLetters)}
          tone={sums.deadLetters > 0 ? "warn" : undefined}
          note={shareWords(sums.deadLetters, sums.delivered, "deliveries")}
        />
        <Figure
          name="Retries"
          value={count(sums.retries)}
          note={shareWords(sums.retries, sums.delivered, "deliveries")}
        />
        <Figure
          name="Replay success"
          value={success === null ? "none yet" : percent(success)}
          tone={failed > 0 ? "warn" : undefined}
          note={success === null && under === 0
            ? "no replay or redrive has ended"
            : `${ended}${under > 0 ? `, ${count(under)} under way` : ""}`}
        />
      </Figures>
    </Panel>
  );
}

/** `2.5% of deliveries`, `no deliveries`. */
function shareWords(part: number, whole: number, what: string): string {
  const share = shareOf(part, whole);
  return share === null ? `no ${what}` : `${percent(share)} of ${what}`;
}

function Stability({ sums, span, point }: { sums: Sums; span: string; point: Point }) {
  const alarming = (value: number) => value > 0 ? { tone: "warn" as const } : {};
  return (
    <Panel title="Stability" aside={span}>
      <Figures>
        <Figure name="Rebalances" value={count(sums.rebalances)} note="of all groups" />
        <Figure
          name="In-sync changes"
          value={count(sums.inSyncChanges)}
          {...alarming(sums.inSyncChanges)}
          note="of what this broker leads"
        />
        <Figure
          name="Leader changes"
          value={count(sums.leaderChanges)}
          {...alarming(sums.leaderChanges)}
          note="partitions that it began to lead"
        />
        <Figure
          name="Offline partitions"
          value={count(point.offlinePartitions)}
          tone={point.offlinePartitions > 0 ? "bad" : undefined}
          note={point.replicationDelayMs === 0
            ? "no replica in sync is behind"
            : `replicas ${milliseconds(point.replicationDelayMs)} behind`}
        />
      </Figures>
    </Panel>
  );
}

function Machine({ history, point }: { history: readonly Point[]; point: Point }) {
  // Not every second has a sync.
  const sync = history.findLast(({ syncLatencyMs }) => syncLatencyMs.p99 !== null) ?? point;
  return (
    <Panel title="Machine" aside="now">
      <Figures>
        <Figure
          name="Event loop held up"
          value={milliseconds(Math.round(point.eventLoopDelayMs * 10) / 10)}
        />
        <Figure name="Sync of the logs, p99" value={milliseconds(sync.syncLatencyMs.p99)} />
        <Figure name="Waiting commands" value={count(point.waitingCommands)} />
        <Figure name="Stored" value={bytes(point.storageBytes)} />
        <Figure name="Disk free" value={bytes(point.diskFreeBytes)} />
        <Figure name="Memory" value={bytes(point.memoryBytes)} />
      </Figures>
    </Panel>
  );
}
