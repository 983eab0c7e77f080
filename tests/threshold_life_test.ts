// Owns tests of what befalls an alert once it fires: escalation, acknowledgement, silence, its samples, other settings.
// Refuses to own when it fires and ends (threshold_limits_test.ts).
import assert from "node:assert/strict";
import { decideAcknowledge } from "../actors/threshold/decide.ts";
import { evolveAlerts } from "../actors/threshold/state.ts";
import { MAX_ALERT_SAMPLES } from "../actors/threshold/types.ts";
import { Judged, requests } from "./support/judged_threshold.ts";
import { lagOf } from "./support/sample_run.ts";

Deno.test("an alert that nobody acknowledges escalates a few times, one that somebody has taken does not", async () => {
  const judged = new Judged("consumer-lag");
  await judged.run.feed(300, lagOf(600_000));
  assert.deepEqual(judged.words, ["fired"]);
  await judged.run.feed(1, lagOf(600_000));
  assert.deepEqual(judged.words, ["fired", "escalated"]);
  assert.equal(judged.alert!.escalations, 1);
  await judged.run.feed(2_000, lagOf(600_000));
  assert.deepEqual(judged.words, ["fired", "escalated", "escalated", "escalated"]);
  const taken = new Judged("consumer-lag");
  await taken.run.feed(10, lagOf(600_000));
  const { alertId } = taken.alert!;
  const events = decideAcknowledge(taken.state, { alertId, principal: "ann" }, 5);
  taken.state = evolveAlerts(taken.state, events);
  await taken.run.feed(1_000, lagOf(600_000));
  assert.deepEqual(taken.words, ["fired"]);
  assert.equal(taken.alert!.acknowledgedBy, "ann");
});

Deno.test("a silenced alert fires and is told nobody, and is told when the silence is over", async () => {
  const judged = new Judged("consumer-lag");
  await judged.run.feed(1, lagOf(600_000));
  const [series] = judged.state.live.keys();
  await judged.run.feed(61, lagOf(1));
  assert.deepEqual(judged.words.splice(0), ["fired", "resolved"]);
  const at = judged.run.time.now();
  const silence = { series: series!, until: at + 400_000, by: "ann" };
  judged.state = evolveAlerts(judged.state, [{ v: 1, type: "SeriesSilenced", at, ...silence }]);
  await judged.run.feed(399, lagOf(600_000));
  assert.equal(judged.status, "firing");
  assert.deepEqual(judged.words, []);
  await judged.run.feed(1, lagOf(600_000));
  assert.deepEqual(judged.words, ["fired"]);
});

Deno.test("an alert that fired and ended within a silence is never told", async () => {
  const judged = new Judged("consumer-lag");
  const series = "consumer-lag group:billing group=billing partition=0 topic=orders";
  const silence = { series, until: judged.run.time.now() + 600_000, by: "ann" };
  judged.state = evolveAlerts(judged.state, [{ v: 1, type: "SeriesSilenced", at: 0, ...silence }]);
  await judged.run.feed(10, lagOf(600_000));
  await judged.run.feed(61, lagOf(1));
  assert.equal(judged.status, "resolved");
  assert.deepEqual(judged.words, []);
});

Deno.test("the samples that made an alert fire are kept, thinned out evenly, with the newest", async () => {
  const judged = new Judged("publish-failure-rate");
  let second = 0;
  await judged.run.until(() => judged.status === "firing", requests(200), 400);
  second = judged.run.second;
  const { samples, firedAt, since } = judged.alert!;
  assert.equal(second, 301);
  assert.ok(samples.length <= MAX_ALERT_SAMPLES && samples.length > MAX_ALERT_SAMPLES / 3);
  assert.equal(samples[0]!.at, since);
  assert.equal(samples.at(-1)!.at, firedAt);
  const steps = new Set(samples.slice(1, -1).map(({ at }, i) => at - samples[i]!.at));
  assert.equal(steps.size, 1);
});

Deno.test("a threshold that is switched off ends its alerts, one that is set otherwise counts at once", async () => {
  const judged = new Judged("consumer-lag");
  await judged.run.feed(1, lagOf(600_000));
  judged.threshold = { ...judged.threshold, enabled: false };
  await judged.run.feed(1, lagOf(600_000));
  assert.equal(judged.status, "resolved");
  assert.equal(judged.state.resolved[0]!.detail, "the threshold was switched off");
  judged.threshold = { ...judged.threshold, enabled: true, limit: 700_000, clearLimit: null };
  await judged.run.feed(1, lagOf(600_000));
  assert.equal(judged.state.live.size, 0);
});
