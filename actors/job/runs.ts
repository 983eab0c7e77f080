// Owns sets of offsets as runs: what a chunk holds, what was redriven.
// Refuses to know what the offsets are of. Invariant: runs are in order, not empty, and neither touch nor overlap.
import { lowerBound } from "../../storage/lower_bound.ts";
import type { OffsetRun } from "./types.ts";

/** The runs of offsets given in rising order. */
export function runsOf(offsets: Iterable<number>): OffsetRun[] {
  const runs: { from: number; to: number }[] = [];
  for (const offset of offsets) {
    const last = runs.at(-1);
    if (last !== undefined && offset < last.to) throw new Error(`offset ${offset} goes back`);
    if (last !== undefined && offset === last.to) last.to++;
    else runs.push({ from: offset, to: offset + 1 });
  }
  return runs;
}

/** How many offsets. */
export function countOf(runs: readonly OffsetRun[]): number {
  return runs.reduce((count, { from, to }) => count + to - from, 0);
}

export function* offsetsIn(runs: readonly OffsetRun[]): Generator<number> {
  for (const { from, to } of runs) {
    for (let offset = from; offset < to; offset++) yield offset;
  }
}

/** Whether `offset` is in `runs`; O(log runs). */
export function hasOffset(runs: readonly OffsetRun[], offset: number): boolean {
  const run = runs[lowerBound(runs.length, (index) => runs[index]!.to <= offset)];
  return run !== undefined && run.from <= offset;
}

/** The offsets of both. */
export function union(a: readonly OffsetRun[], b: readonly OffsetRun[]): readonly OffsetRun[] {
  if (b.length === 0) return a;
  if (a.length === 0) return b;
  const last = a.at(-1)!;
  if (b.length === 1 && b[0]!.from === last.to) {
    return [...a.slice(0, -1), { from: last.from, to: b[0]!.to }];
  }
  const merged: { from: number; to: number }[] = [];
  const sorted = [...a, ...b].sort((one, other) => one.from - other.from);
  for (const { from, to } of sorted) {
    const top = merged.at(-1);
    if (top !== undefined && from <= top.to) top.to = Math.max(top.to, to);
    else merged.push({ from, to });
  }
  return merged;
}
