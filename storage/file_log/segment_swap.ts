// Owns putting one new segment in the place of several, and finishing that after a crash.
// Refuses to own what is in it (compactor.ts).
// Invariant: a swap file is whole and durable before it has its name, and its name is durable before anything it stands
// for is taken away; from then on every opening finishes the swap. So at each step either the old segments or the swap
// file hold everything, and no two segments ever hold the same offsets.
import type { Disk } from "../ports.ts";
import { baseOffsetOf, segmentPath, swapPath, swapRangeOf } from "./file_names.ts";
import { removeIndex } from "./index_files.ts";

export interface SwapPlace {
  readonly directory: string;
  readonly baseOffset: number;
  readonly endOffset: number;
}

/** Gives the finished, synced file at `temporary` its name: the point of no return. */
export async function beginSwap(disk: Disk, at: SwapPlace, temporary: string): Promise<void> {
  await disk.rename(temporary, swapPath(at.directory, at.baseOffset, at.endOffset));
  await disk.syncDirectory(at.directory);
}

/**
 * Takes away what the swap file at `at` stands for and puts it in place. `removeSegment` removes the file of a segment;
 * the first one's is replaced, not removed.
 */
export async function finishSwap(
  disk: Disk,
  at: SwapPlace & { replacedBases: readonly number[] },
  removeSegment: (path: string) => Promise<void>,
): Promise<void> {
  const { directory, baseOffset, endOffset, replacedBases } = at;
  for (const base of replacedBases) {
    await removeIndex(disk, directory, base);
    if (base !== baseOffset) await removeSegment(segmentPath(directory, base));
  }
  // Before the swap file loses the name that says what it stands for, all of that must be gone for good.
  await disk.syncDirectory(directory);
  await disk.rename(swapPath(directory, baseOffset, endOffset), segmentPath(directory, baseOffset));
  await disk.syncDirectory(directory);
}

/** Finishes what a crash left of swaps in a directory that holds `names`; whether there was any. */
export async function finishSwaps(
  disk: Disk,
  directory: string,
  names: readonly string[],
): Promise<boolean> {
  const swaps = names.map(swapRangeOf).filter((range) => range !== null);
  if (swaps.length === 0) return false;
  // After a kill the swap file's name may be in the page cache alone.
  await disk.syncDirectory(directory);
  const bases = names.map(baseOffsetOf).filter((base) => base !== null);
  for (const { baseOffset, endOffset } of swaps) {
    const replacedBases = bases.filter((base) => base >= baseOffset && base < endOffset);
    const at = { directory, baseOffset, endOffset, replacedBases };
    await finishSwap(disk, at, (path) => disk.remove(path));
  }
  return true;
}
