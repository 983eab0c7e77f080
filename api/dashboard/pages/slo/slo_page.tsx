// Owns the page of service levels: objectives, what was kept of them, and the error budget.
// Refuses to own computing it (objectives.ts). Invariant: over which time a figure is stands beside it.
import { Chart } from "../../components/chart.tsx";
import { Figure, Figures, PageHead, Panel } from "../../components/panel.tsx";
import { ErrorBox, Loading, Notice, WhenLoaded } from "../../components/states.tsx";
import { count, milliseconds, UNKNOWN } from "../../format.ts";
import { useLoaded, useStore } from "../../hooks.ts";
import { live } from "../../live/live_overview.ts";
import type { OverviewState } from "../../live/overview_state.ts";
import { api } from "../../session.ts";
import {
  AVAILABILITY,
  type Availability,
  availabilityOfHistory,
  LATENCY_P99_MS,
  latencyKept,
  type SinceStart,
  sinceStart,
} from "./objectives.ts";

const REFRESH_MS = 5_000;

export function SloPage() {
  const { overview, problem } = useStore(live);
  const start = useLoaded("metrics", async (signal) => {
    const response = await api.send("GET", "/metrics", { headers: { accept: "*/*" }, signal });
    return sinceStart(await response.text());
  }, { everyMs: REFRESH_MS });
  return (
    <>
      <PageHead
        title="Service levels"
        lead={`Publishing: ${
          exactPercent(AVAILABILITY)
        } of requests served, p99 within ${LATENCY_P99_MS} ms.`}
      />
      <Notice>
        <p>
          The broker remembers 15 minutes, and counts since its start. For a window of 30 days, the
          metrics page feeds a Prometheus.
        </p>
      </Notice>
      {overview !== null
        ? <LastMinutes overview={overview} />
        : problem === null
        ? <Loading what="Connecting" />
        : <ErrorBox text={problem} />}
      <Panel title="Since the broker's start">
        <WhenLoaded loaded={start}>{(value) => <Start value={value} />}</WhenLoaded>
      </Panel>
    </>
  );
}

function LastMinutes({ overview: { history } }: { overview: OverviewState }) {
  const kept = latencyKept(history);
  const share = kept.measured === 0 ? null : kept.within / kept.measured;
  const times = history.map(({ at }) => at);
  return (
    <Panel title="The last 15 minutes" aside="or since the start, where that is later">
      <AvailabilityFigures availability={availabilityOfHistory(history)} />
      <Figures>
        <Figure
          name={`Seconds with p99 within ${LATENCY_P99_MS} ms`}
          value={exactPercent(share)}
          note={`${count(kept.within)} of ${count(kept.measured)} in which something was published`}
          tone={share === null ? undefined : share === 1 ? "ok" : "warn"}
        />
        <Figure
          name="Worst second's p99"
          value={milliseconds(kept.worstMs)}
          tone={kept.worstMs === null ? undefined : kept.worstMs <= LATENCY_P99_MS ? "ok" : "warn"}
        />
      </Figures>
      <Chart
        title="Publish latency, p99"
        times={times}
        format={milliseconds}
        series={[
          {
            label: "p99",
            colour: "--chart-1",
            values: history.map(({ publishLatencyMs }) => publishLatencyMs.p99),
          },
          {
            label: "objective",
            colour: "--chart-2",
            values: history.map(() => LATENCY_P99_MS),
          },
        ]}
      />
    </Panel>
  );
}

function Start({ value: { availability, p99Ms } }: { value: SinceStart }) {
  return (
    <>
      <AvailabilityFigures availability={availability} />
      <Figures>
        <Figure
          name="Publish p99"
          value={p99Ms === null
            ? UNKNOWN
            : p99Ms.upTo === Infinity
            ? `above ${milliseconds(p99Ms.above)}`
            : `${milliseconds(p99Ms.above)} to ${milliseconds(p99Ms.upTo)}`}
          note="as fine as the histogram's buckets"
          tone={p99Ms === null
            ? undefined
            : p99Ms.upTo <= LATENCY_P99_MS
            ? "ok"
            : p99Ms.above >= LATENCY_P99_MS
            ? "bad"
            : undefined}
        />
      </Figures>
    </>
  );
}

function AvailabilityFigures({ availability }: { availability: Availability }) {
  const { requests, failures, share, burn, allowed } = availability;
  const tone = share === null ? undefined : share >= AVAILABILITY ? "ok" as const : "bad" as const;
  return (
    <Figures>
      <Figure
        name="Availability of publishing"
        value={exactPercent(share)}
        note={`objective ${exactPercent(AVAILABILITY)}`}
        tone={tone}
      />
      <Figure
        name="Failed by the broker"
        value={count(failures)}
        note={`of ${count(requests)} requests; ${
          allowed < 10 ? allowed.toFixed(1) : count(allowed)
        } are allowed`}
      />
      <Figure
        name="Error budget used"
        value={burn === null ? UNKNOWN : exactPercent(burn)}
        note="100%: all that is allowed in this time"
        tone={tone}
      />
    </Figures>
  );
}

/** Objectives differ in the third digit behind the point: `99.95%`, `99.998%`. */
function exactPercent(share: number | null): string {
  // Never rounded up to what was not kept.
  return share === null ? UNKNOWN : `${Math.floor(share * 100_000 + 1e-6) / 1_000}%`;
}
