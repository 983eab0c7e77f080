// Owns the test of ranges of offsets. Invariant: they are a set of offsets, however they were added and taken away.
import assert from "node:assert/strict";
import fc from "fast-check";
import { OffsetRanges } from "../api/stream/offset_ranges.ts";

Deno.test("offset ranges hold what a set of offsets would", () => {
  const step = fc.record({
    what: fc.constantFrom("add", "remove", "removeBelow"),
    offset: fc.nat(60),
    count: fc.integer({ min: 1, max: 6 }),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const ranges = new OffsetRanges();
    const model = new Set<number>();
    for (const { what, offset, count } of steps) {
      if (what === "remove") assert.equal(ranges.remove(offset), model.delete(offset));
      else if (what === "removeBelow") {
        const below = [...model].filter((other) => other < offset);
        for (const other of below) model.delete(other);
        assert.equal(ranges.removeBelow(offset), below.length);
      } else {
        const added = Array.from({ length: count }, (_, index) => offset + index);
        if (added.some((other) => model.has(other))) {
          assert.throws(() => ranges.add(offset, offset + count), /overlap/);
        } else {
          ranges.add(offset, offset + count);
          for (const other of added) model.add(other);
        }
      }
      assert.equal(ranges.size, model.size);
      const held = ranges.ranges.flatMap(({ from, to }) =>
        Array.from({ length: to - from }, (_, index) => from + index)
      );
      assert.deepEqual(held, [...model].sort((a, b) => a - b));
      assert.ok(
        ranges.ranges.every(({ from }, index) =>
          index === 0 || ranges.ranges[index - 1]!.to < from
        ),
      );
      assert.equal(ranges.has(offset), model.has(offset));
    }
  }));
});
