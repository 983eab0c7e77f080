// Owns small lines that show how a figure went, beside it.
// Refuses to own the figures. Invariant: it says in words where it began, was highest and is now.
import { shortCount } from "../format.ts";
import { sparkPath } from "../geometry.ts";

const WIDTH = 96;
const HEIGHT = 24;

/** `values` oldest first; one alone is no line. `label` says what they are. */
export function Sparkline(
  { values, label, format = shortCount }: {
    values: readonly number[];
    label: string;
    format?: (value: number) => string;
  },
) {
  if (values.length < 2) return <span class="soft" title="not known for long enough">–</span>;
  const words = `${label}: from ${format(values[0]!)} to ${format(values.at(-1)!)}, ` +
    `at most ${format(Math.max(...values))}`;
  const { line, area, end } = sparkPath(values, { width: WIDTH, height: HEIGHT });
  return (
    <svg
      class="spark"
      role="img"
      aria-label={words}
      width={WIDTH}
      height={HEIGHT}
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
    >
      <title>{words}</title>
      <path class="spark-area" d={area} />
      <path class="spark-line" d={line} />
      <circle class="spark-end" cx={end.x} cy={end.y} r="2" />
    </svg>
  );
}
