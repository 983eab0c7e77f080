// Owns proof that quantiles are right within the histogram's precision, and that Prometheus is told the same counts.
// Refuses to own what is measured. Invariant: whatever the durations are.
import assert from "node:assert/strict";
import fc from "fast-check";
import { LatencyHistogram, quantilesBetween } from "../ops/measurement/latency_histogram.ts";

/** Of a bucket's width, to either side of its middle. */
const PRECISION = 2 ** (1 / 16) * 1.0001;
const duration = fc.double({ min: 0.02, max: 1e6, noNaN: true });

Deno.test("a quantile is within 5% of the value that has that rank", () => {
  fc.assert(fc.property(
    fc.array(duration, { minLength: 1, maxLength: 200 }),
    fc.array(duration, { maxLength: 50 }),
    fc.constantFrom(0.5, 0.95, 0.99, 1),
    (values, before, quantile) => {
      const histogram = new LatencyHistogram();
      for (const ms of before) histogram.observe(ms);
      const start = histogram.counts();
      for (const ms of values) histogram.observe(ms);
      const [told] = quantilesBetween(start, histogram.counts(), [quantile]);
      const sorted = values.toSorted((a, b) => a - b);
      const exact = sorted[Math.max(1, Math.ceil(quantile * values.length)) - 1]!;
      assert.ok(told! / exact < PRECISION && exact / told! < PRECISION, `${told} for ${exact}`);
    },
  ));
});

Deno.test("cumulative counts are those of the values up to each bound", () => {
  fc.assert(fc.property(fc.array(duration, { maxLength: 100 }), (values) => {
    const histogram = new LatencyHistogram();
    for (const ms of values) histogram.observe(ms);
    for (const { upToMs, count } of histogram.cumulative(16_384)) {
      assert.equal(count, values.filter((ms) => ms <= upToMs).length, `up to ${upToMs}`);
    }
    assert.equal(histogram.count, values.length);
  }));
});

Deno.test("nothing measured has no quantiles, and whatever is measured has a bucket", () => {
  const histogram = new LatencyHistogram();
  assert.deepEqual(quantilesBetween(histogram.counts(), histogram.counts(), [0.5]), [null]);
  for (const ms of [-1, 0, 1e300, Infinity]) histogram.observe(ms);
  assert.equal(histogram.count, 4);
  const bounds = histogram.cumulative(16_384).map(({ upToMs }) => upToMs);
  assert.deepEqual([bounds[0], bounds.at(-1)], [0.125, 16_384]);
});
