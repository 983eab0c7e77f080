// Samples of other brokers: judged with this broker's own, by one broker for all.
import assert from "node:assert/strict";
import type { LocalAlerts } from "../actors/threshold/alerts.ts";
import { memoryBrokerStores } from "./support/memory_broker.ts";
import { lagOf, SampleRun } from "./support/sample_run.ts";
import { VirtualClock } from "./support/virtual_time.ts";

async function world() {
  const time = new VirtualClock();
  const broker = await memoryBrokerStores({ time }).open();
  const alerts = broker.alerts as LocalAlerts;
  // A clock of its own, as every process has.
  const elsewhere = new VirtualClock();
  let isThere = true;
  let lag = 0;
  const other = new SampleRun((sample) => alerts.hear("2", sample), elsewhere);
  const own = new SampleRun((sample) => alerts.observe(sample), time);
  /** Seconds of both, as long as the other is there. */
  const seconds = async (count: number) => {
    for (let second = 0; second < count; second++) {
      if (isThere) await other.feed(1, lagOf(lag));
      await own.feed(1, {});
    }
  };
  return {
    broker,
    alerts,
    seconds,
    states: () => alerts.list().map(({ name, state, resource }) => [name, resource.name, state]),
    lags: (messages: number) => lag = messages,
    leave: () => isThere = false,
    comeBack: () => isThere = true,
  };
}

Deno.test("what another broker measures fires and resolves at the broker that judges", async () => {
  const { broker, seconds, states, lags } = await world();
  await seconds(3);
  assert.deepEqual(states(), []);
  lags(600_000);
  await seconds(3);
  assert.equal(states().length, 1);
  assert.equal(states()[0]![2], "firing");
  lags(0);
  await seconds(70);
  assert.equal(states()[0]![2], "resolved");
  await broker.close();
});

Deno.test("an alert of a broker that is silent stays as it is, until the broker is gone for good", async () => {
  const { broker, seconds, states, lags, leave } = await world();
  lags(600_000);
  await seconds(3);
  leave();
  await seconds(50);
  assert.equal(states()[0]![2], "firing");
  await seconds(90);
  assert.equal(states()[0]![2], "resolved");
  await broker.close();
});
