// Owns how lists of partitions are written for people.
// Refuses to own what they are of. Invariant: pure; every partition given is in the text, each once.

interface At {
  readonly topic: string;
  readonly partition: number;
}

/** `orders 0–3, 7 · mail 0`; topics in order. */
export function partitionsText(partitions: readonly At[]): string {
  const byTopic = Map.groupBy(partitions, ({ topic }) => topic);
  return [...byTopic].sort(([a], [b]) => a < b ? -1 : 1)
    .map(([topic, list]) => `${topic} ${rangesText(list.map(({ partition }) => partition))}`)
    .join(" · ");
}

/** `0–3, 7`. */
export function rangesText(numbers: readonly number[]): string {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b);
  const ranges: [number, number][] = [];
  for (const number of sorted) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([from, to]) => from === to ? `${from}` : `${from}–${to}`).join(", ");
}
