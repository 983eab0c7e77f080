// Owns charts of figures over time: uPlot on a canvas, with the newest figures in words and a table of them all.
// Refuses to own the figures.
// Invariant: nothing is told by the canvas or by colour alone: each series has its own dash, and all stands in the table too.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { lonePoints, tableRows } from "../chart_table.ts";
import { useIsDark } from "../hooks.ts";
import { Empty } from "./states.tsx";

export interface Series {
  readonly label: string;
  /** Null where nothing was measured: a gap. As many as there are times. */
  readonly values: readonly (number | null)[];
  /** A CSS variable: --chart-1 to --chart-4. */
  readonly colour: `--chart-${1 | 2 | 3 | 4}`;
}

export interface ChartProps {
  readonly title: string;
  /** Wall times, ms, oldest first. */
  readonly times: readonly number[];
  readonly series: readonly Series[];
  readonly format: (value: number | null) => string;
  /** Shorter, beside the axis; left out: `format`. */
  readonly axisFormat?: (value: number) => string;
  /** Sizes: the axis is cut in powers of two. */
  readonly isBinary?: boolean;
  readonly heightPx?: number;
  /** What is said where no series has a value but 0. */
  readonly empty?: string;
}

const DASHES: readonly number[][] = [[], [6, 4], [2, 3], [8, 3, 2, 3]];
const BINARY_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);
/** Of the axis's font. */
const CHARACTER_PX = 7;

export function Chart(props: ChartProps) {
  const { title, series, format, empty = "Nothing but 0 was measured." } = props;
  // A flat line at 0 is said sooner than drawn.
  const hasValues = series.some(({ values }) =>
    values.some((value) => value !== null && value !== 0)
  );
  return (
    <figure class="chart">
      <figcaption>
        <span class="chart-title">{title}</span>
        <span class="chart-legend">
          {series.map(({ label, colour, values }, index) => (
            <span key={label} class="chart-key">
              <svg width="22" height="8" aria-hidden="true" class={`stroke${colour}`}>
                <line
                  x1="1"
                  x2="21"
                  y1="4"
                  y2="4"
                  stroke-width="2.5"
                  stroke-dasharray={DASHES[index % DASHES.length]!.join(" ")}
                />
              </svg>
              {label} <b class="num">{format(newestOf(values))}</b>
            </span>
          ))}
        </span>
      </figcaption>
      {hasValues ? <Canvas {...props} /> : <Empty>{empty}</Empty>}
      {hasValues && <ChartTable {...props} />}
    </figure>
  );
}

/** The newest that was measured. */
function newestOf(values: readonly (number | null)[]): number | null {
  return values.findLast((value) => value !== null) ?? null;
}

function Canvas(props: ChartProps) {
  const { title, times, series, format, heightPx = 180 } = props;
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const isDark = useIsDark();
  const labels = series.map(({ label }) => label).join();
  const data = [times.map((at) => at / 1_000), ...series.map(({ values }) => values)];
  useEffect(() => {
    const element = frame.current!;
    const made = new uPlot(
      optionsOf(element, { ...props, heightPx }),
      data as uPlot.AlignedData,
      element,
    );
    plot.current = made;
    const watch = new ResizeObserver(() => {
      if (element.clientWidth > 0) {
        made.setSize({ width: element.clientWidth, height: heightPx });
      }
    });
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [isDark, labels, heightPx]);
  useEffect(() => plot.current?.setData(data as uPlot.AlignedData));
  return (
    <div
      class="chart-canvas"
      ref={frame}
      role="img"
      aria-label={`${title}: ${
        series.map(({ label, values }) => `${label} ${format(newestOf(values))}`).join(", ")
      }`}
    />
  );
}

function optionsOf(
  element: HTMLElement,
  { series, heightPx, format, axisFormat = format, isBinary }: ChartProps & { heightPx: number },
): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--soft"),
    font: `12px ${style.fontFamily}`,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: element.clientWidth || 300,
    height: heightPx,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    padding: [8, 26, 0, 0],
    scales: { x: { time: true }, y: { range: (_, __, high) => [0, Math.max(high * 1.1, 1e-9)] } },
    axes: [
      { ...axis, size: 26, space: 70, values: (_, times) => times.map(axisTime) },
      {
        ...axis,
        size: (_, labels) => axisWidthPx(labels),
        space: 36,
        values: (_, values) => values.map((value) => axisFormat(value)),
        ...isBinary ? { incrs: BINARY_STEPS } : {},
      },
    ],
    series: [
      {},
      ...series.map(({ label, colour: name }, index) => ({
        label,
        stroke: colour(name),
        width: 2,
        dash: DASHES[index % DASHES.length]!,
        spanGaps: false,
        // A line needs two points: one that stands alone is drawn as a dot.
        points: {
          size: 5,
          fill: colour(name),
          filter: (plot: uPlot, at: number) => lonePoints(plot.data[at]!),
        },
        ...(index === 0 && series.length <= 2 ? { fill: `${colour(name)}1f` } : {}),
      })),
    ],
  };
}

function axisWidthPx(labels: readonly string[] | null): number {
  const longest = Math.max(4, ...(labels ?? []).map((label) => label.length));
  return longest * CHARACTER_PX + 12;
}

function axisTime(seconds: number): string {
  return new Date(seconds * 1_000).toLocaleTimeString("en-GB").replace(/:00$/, "");
}

function ChartTable({ title, times, series, format }: ChartProps) {
  const [isOpen, setIsOpen] = useState(false);
  const rows = isOpen ? tableRows(times, series.map(({ values }) => values)) : [];
  return (
    <details class="chart-data" onToggle={(event) => setIsOpen(event.currentTarget.open)}>
      <summary>{title} as a table</summary>
      <div class="table-frame">
        <table class="table table-plain">
          <caption class="unseen">{title}, newest first</caption>
          <thead>
            <tr>
              <th scope="col">Time</th>
              {series.map(({ label }) => <th key={label} scope="col" class="num">{label}</th>)}
            </tr>
          </thead>
          <tbody>
            {rows.map(({ at, values }) => (
              <tr key={at}>
                <th scope="row">{new Date(at).toLocaleTimeString("en-GB")}</th>
                {values.map((value, index) => (
                  <td key={series[index]!.label} class="num">{format(value)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
