// Owns the decision how many of a log's oldest segments a retention policy drops.
// Refuses to own dropping them. Pure, but for looking up how new a segment is.
// Invariant: what is dropped is a prefix of the closed segments, each allowed by the policy on its own.
import type { RetentionPolicy } from "../log.ts";
import type { Segment } from "./segments.ts";

/** Number of leading segments of `segments`, whose last one is the active, that `policy` lets go. */
export async function countDroppable(
  segments: readonly Segment[],
  policy: RetentionPolicy,
  maxTimestampOf: (segment: Segment) => Promise<number>,
): Promise<number> {
  let restBytes = segments.reduce((sum, segment) => sum + segment.sizeBytes, 0);
  let count = 0;
  for (; count < segments.length - 1; count++) {
    const segment = segments[count]!;
    const endOffset = segments[count + 1]!.baseOffset;
    if (endOffset > policy.keepFrom) break;
    restBytes -= segment.sizeBytes;
    const surplus = policy.retentionBytes !== null && restBytes >= policy.retentionBytes;
    if (!surplus && !await isExpired(segment, policy, maxTimestampOf)) break;
  }
  return count;
}

async function isExpired(
  segment: Segment,
  policy: RetentionPolicy,
  maxTimestampOf: (segment: Segment) => Promise<number>,
): Promise<boolean> {
  if (policy.retentionMs === null) return false;
  return await maxTimestampOf(segment) < policy.now - policy.retentionMs;
}
