// Owns looking through dead letters: how many of each group there are of late, and since when they come as a flood.
// Refuses to own what is done about them. Invariant: newest first and within named bounds; where a bound ends the look
// before the flood's beginning is seen, that is said, and the whole time that may be looked at is taken for it.
import { type Letter, letterOf } from "../../actors/job/letter.ts";
import type { TopicPartition } from "../../actors/broker.ts";
import { decodeBatch } from "../../storage/format/decode.ts";
import { batchSpans } from "../../storage/format/record_batch.ts";
import { MINUTE_MS, type RunbookPorts } from "./definition.ts";

const DEAD_LETTERS = "dlq.";
/** Letters of one look at a partition, and bytes of one read of it. */
const LOOK_LETTERS = 1_000;
const MAX_READ_BYTES = 1_048_576;
const MAX_DECOMPRESSED_BYTES = 16 * 1_048_576;
/** Letters that the beginning of a flood is looked for among, over all partitions; of each at least one look. */
const MAX_WALKED_LETTERS = 50_000;
/** So long before the fault a flood may have begun. */
export const MAX_FLOOD_MS = 60 * MINUTE_MS;
/** What a flood is measured in, and how long it may be calm within it. */
const SLICE_MS = 10_000;
const CALM_SLICES = 6;
/** Of the busiest slice's letters; fewer are not the flood's: some come always. */
const FLOOD_SHARE = 0.1;

export interface LetterCount {
  readonly group: string;
  readonly topic: string;
  readonly letters: string;
  readonly reason: string;
  count: number;
}

/** A group's letters in one topic of dead letters. */
export interface LettersOf {
  readonly group: string;
  readonly letters: string;
}

export function keyOf({ group, letters }: LettersOf): string {
  return `${group} ${letters}`;
}

/** By group and topic of dead letters (`keyOf`), among the newest of each partition. */
export async function lettersSince(
  { broker }: RunbookPorts,
  since: number,
): Promise<Map<string, LetterCount>> {
  const counts = new Map<string, LetterCount>();
  for (const letters of broker.topicNames().filter((name) => name.startsWith(DEAD_LETTERS))) {
    const { partitions } = await broker.describeTopic(letters);
    for (const { partition, logStartOffset, highWatermark } of partitions) {
      const from = Math.max(logStartOffset, highWatermark - LOOK_LETTERS);
      const range = { from, to: highWatermark };
      for await (
        const { letter, timestamp } of read(broker, { topic: letters, partition }, range)
      ) {
        if (timestamp >= since) add(counts, letters, letter);
      }
    }
  }
  return counts;
}

function add(counts: Map<string, LetterCount>, letters: string, letter: Letter): void {
  const { group, origin, reason } = letter;
  if (group === null) return;
  const key = keyOf({ group, letters });
  const known = counts.get(key) ?? {
    group,
    topic: origin?.topic ?? letters.slice(DEAD_LETTERS.length),
    letters,
    reason: reason ?? "no reason given",
    count: 0,
  };
  known.count++;
  counts.set(key, known);
}

/**
 * When the flood of these letters began, wall ms: back from the newest while, with no minute's calm between, slices of ten
 * seconds have more than a tenth of what the busiest has. `isSeen` is false where it had begun before what was looked at.
 */
export async function floodBeginning(
  { broker }: RunbookPorts,
  of: LettersOf,
  faultAt: number,
): Promise<{ readonly since: number; readonly isSeen: boolean }> {
  const earliest = faultAt - MAX_FLOOD_MS;
  const { partitions } = await broker.describeTopic(of.letters);
  const most = Math.max(LOOK_LETTERS, Math.floor(MAX_WALKED_LETTERS / partitions.length));
  const slices = new Map<number, number>();
  let seenFrom = earliest;
  for (const { partition, logStartOffset, highWatermark } of partitions) {
    const at = { topic: of.letters, partition };
    const from = Math.max(logStartOffset, highWatermark - most);
    let oldest = Infinity;
    for (let to = highWatermark; to > from && oldest >= earliest; to -= LOOK_LETTERS) {
      const range = { from: Math.max(from, to - LOOK_LETTERS), to };
      for await (const { letter, timestamp } of read(broker, at, range)) {
        oldest = Math.min(oldest, timestamp);
        if (letter.group !== of.group || timestamp < earliest) continue;
        const slice = Math.floor(timestamp / SLICE_MS);
        slices.set(slice, (slices.get(slice) ?? 0) + 1);
      }
    }
    if (from > logStartOffset && oldest >= earliest) seenFrom = Math.max(seenFrom, oldest);
  }
  const first = firstOfFlood(slices);
  const seen = Math.floor(seenFrom / SLICE_MS) + CALM_SLICES;
  if (first === null || first <= seen) return { since: earliest, isSeen: false };
  // The slice before may hold the few that came first.
  return { since: (first - 1) * SLICE_MS, isSeen: true };
}

function firstOfFlood(slices: ReadonlyMap<number, number>): number | null {
  let busiest = 0;
  for (const count of slices.values()) busiest = Math.max(busiest, count);
  const flooded = [...slices].filter(([, count]) => count > busiest * FLOOD_SHARE)
    .map(([slice]) => slice).sort((a, b) => b - a);
  const calm = flooded.findIndex((slice, index) =>
    index + 1 === flooded.length || slice - flooded[index + 1]! > CALM_SLICES
  );
  return flooded[calm] ?? null;
}

/** Letters at the offsets `[from, to)`. */
async function* read(
  broker: RunbookPorts["broker"],
  at: TopicPartition,
  { from, to }: { from: number; to: number },
): AsyncGenerator<{ readonly letter: Letter; readonly timestamp: number }> {
  let next = from;
  while (next < to) {
    const { batches } = await broker.fetch(at, next, { maxBytes: MAX_READ_BYTES });
    const before = next;
    for (const span of batchSpans(batches)) {
      const limits = { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES };
      for (const record of decodeBatch(batches, span.at, limits)) {
        const { offset, timestamp } = record;
        if (offset < before || offset >= to) continue;
        next = Math.max(next, offset + 1);
        yield { letter: letterOf(record), timestamp };
      }
    }
    // Nothing more can be read: of a transaction that is open, or gone meanwhile.
    if (next === before) return;
  }
}
