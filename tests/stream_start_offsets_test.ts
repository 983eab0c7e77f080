// Owns the promise that a group goes on where it committed, whoever leads the partition by then.
// Refuses to own when a start is looked for (starter.ts).
import assert from "node:assert/strict";
import { startWithin } from "../api/stream/start_offsets.ts";

const EARLIEST = { autoOffsetReset: "earliest" } as const;
const AT = { logStartOffset: 0, lastStableOffset: 40, leaderEpoch: 2 };

Deno.test("a new leader that does not know yet how far its followers are starts no group anew", () => {
  const range = { ...AT, highWatermark: 40, logEndOffset: 54 };
  const found = startWithin(range, { committed: 54, ...EARLIEST });
  assert.deepEqual([found.offset, found.reset], [54, undefined]);
});

Deno.test("what was committed beyond the end of the log is told, and read from where the group says", () => {
  const range = { ...AT, highWatermark: 40, logEndOffset: 54 };
  const found = startWithin(range, { committed: 55, ...EARLIEST });
  assert.equal(found.offset, 0);
  assert.deepEqual(found.reset, { committed: 55, logStartOffset: 0, highWatermark: 40 });
  const alone = startWithin({ ...AT, highWatermark: 40 }, { committed: 41, ...EARLIEST });
  assert.equal(alone.offset, 0);
});
