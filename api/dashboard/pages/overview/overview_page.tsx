// Owns the first page: how the broker stands, in the order in which an operator asks.
// Refuses to own measuring. Invariant: what is in trouble stands first, with since when and why.
import { Chart } from "../../components/chart.tsx";
import { PageHead, Panel } from "../../components/panel.tsx";
import { ErrorBox, Loading } from "../../components/states.tsx";
import { shortCount } from "../../format.ts";
import { useStore } from "../../hooks.ts";
import { live } from "../../live/live_overview.ts";

export function OverviewPage() {
  const { overview, problem } = useStore(live);
  if (overview === null) {
    return (
      <>
        <PageHead title="Overview" />
        {problem === null ? <Loading what="Connecting" /> : <ErrorBox text={problem} />}
      </>
    );
  }
  const { history } = overview;
  return (
    <>
      <PageHead title="Overview" />
      <Panel title="Throughput">
        <Chart
          title="Messages per second"
          times={history.map(({ at }) => at)}
          format={shortCount}
          series={[
            {
              label: "published",
              colour: "--chart-1",
              values: history.map(({ publishedMessagesPerSecond }) => publishedMessagesPerSecond),
            },
            {
              label: "delivered",
              colour: "--chart-2",
              values: history.map(({ deliveredMessagesPerSecond }) => deliveredMessagesPerSecond),
            },
          ]}
        />
      </Panel>
    </>
  );
}
