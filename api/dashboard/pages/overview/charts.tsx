// Owns the charts of the first page: rates and latencies of the last 15 minutes.
// Refuses to own drawing (components/chart.tsx). Invariant: each has the same time axis.
import { Chart, type Series } from "../../components/chart.tsx";
import { Panel } from "../../components/panel.tsx";
import { bytes, milliseconds, shortCount, UNKNOWN } from "../../format.ts";
import type { OverviewPoint } from "../../../overview/overview.ts";

type Quantiles = OverviewPoint["publishLatencyMs"];

export function ChartPanels({ history }: { history: readonly OverviewPoint[] }) {
  const times = history.map(({ at }) => at);
  const series = (
    label: string,
    colour: Series["colour"],
    value: (point: OverviewPoint) => number | null,
  ): Series => ({ label, colour, values: history.map(value) });
  const quantiles = (of: (point: OverviewPoint) => Quantiles) => [
    series("p50", "--chart-1", (point) => of(point).p50),
    series("p95", "--chart-2", (point) => of(point).p95),
    series("p99", "--chart-3", (point) => of(point).p99),
  ];
  const axisSeconds = (value: number) =>
    value < 1_000 ? `${shortCount(value)} ms` : `${shortCount(value / 1_000)} s`;
  const perSecond = (format: (value: number | null) => string) => (value: number | null) =>
    value === null ? UNKNOWN : `${format(value)}/s`;
  return (
    <div class="columns">
      <Panel title="Throughput">
        <Chart
          title="Messages per second"
          times={times}
          format={perSecond(shortCount)}
          axisFormat={shortCount}
          empty="Nothing was published or delivered in the last 15 minutes."
          series={[
            series("published", "--chart-1", (point) => point.publishedMessagesPerSecond),
            series("delivered", "--chart-2", (point) => point.deliveredMessagesPerSecond),
          ]}
        />
        <Chart
          title="Bytes per second"
          times={times}
          format={perSecond(bytes)}
          axisFormat={bytes}
          isBinary
          empty="Nothing was published or delivered in the last 15 minutes."
          series={[
            series("published", "--chart-1", (point) => point.publishedBytesPerSecond),
            series("delivered", "--chart-2", (point) => point.deliveredBytesPerSecond),
          ]}
        />
      </Panel>
      <Panel title="Latency">
        <Chart
          title="Publish"
          times={times}
          format={milliseconds}
          axisFormat={axisSeconds}
          empty="Nothing was published in the last 15 minutes."
          series={quantiles((point) => point.publishLatencyMs)}
        />
        <Chart
          title="End to end"
          times={times}
          format={milliseconds}
          axisFormat={axisSeconds}
          empty="No group was given anything in the last 15 minutes."
          series={quantiles((point) => point.endToEndMs)}
        />
      </Panel>
    </div>
  );
}
