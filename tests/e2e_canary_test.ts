// Owns proof through the real process that a bad version is taken out by itself, that its partitions go back, that this is
// audited, told and alerted, and that no message is lost, also through a kill (I1, I4).
// Refuses to own single rules (canary_decide_test.ts). Invariant: every wait is bounded.
import assert from "node:assert/strict";
import { type Consumer, WaybillClient } from "../api/client.ts";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";

// deno-lint-ignore no-explicit-any -- what a test reads out of an answer is checked by its assertions
type Data = any;

const PARTITIONS = 8;
const ROUNDS = 4;
const A_ROUND = 400;
const WAIT_MS = 60_000;

async function until<T>(find: () => Promise<T | null>, what: string): Promise<T> {
  const givenUpAt = performance.now() + WAIT_MS;
  while (performance.now() < givenUpAt) {
    const found = await find();
    if (found !== null) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what} did not come about`);
}

async function get(url: string, path: string): Promise<Data> {
  const response = await fetch(url + path);
  assert.ok(response.ok, `${path}: ${response.status}`);
  return await response.json();
}

/** Everything that a good version has done with messages, over all of its members. */
class Ledger {
  readonly done = new Set<number>();

  consumer(client: WaybillClient, version: string): Consumer {
    return client.consumer({
      group: "billing",
      topics: ["orders"],
      version,
      autoOffsetReset: "earliest",
    });
  }

  /** Until the consumer is closed. */
  async work(consumer: Consumer, isBad: boolean): Promise<void> {
    for await (const message of consumer) {
      if (isBad) {
        consumer.nack(message, { code: "BROKEN", reason: "the release is bad" });
        continue;
      }
      this.done.add(message.value as number);
      // Refused where the partition has gone meanwhile: somebody else gets the message then.
      consumer.commit(message).catch(() => {});
    }
  }
}

Deno.test("a version that nacks everything is taken out by itself, its partitions go back, and no message is lost", async () => {
  await withDataDir(async (dataDir) => {
    const ledger = new Ledger();
    const all = new Set<number>();
    const send = async (client: WaybillClient, count: number) => {
      const messages = Array.from({ length: count }, () => {
        all.add(all.size);
        return { value: all.size - 1, partition: (all.size - 1) % PARTITIONS };
      });
      await client.producer().sendMany("orders", messages);
    };
    {
      await using broker = await startBrokerProcess({ dataDir });
      await using client = new WaybillClient({ url: broker.url });
      await client.topics.create({ name: "orders", partitions: PARTITIONS });
      const good = [ledger.consumer(client, "1.0"), ledger.consumer(client, "1.0")];
      const working = good.map((consumer) => ledger.work(consumer, false));
      await send(client, A_ROUND);
      const done = (count: number) => () =>
        Promise.resolve(ledger.done.size >= count ? true as const : null);
      await until(done(A_ROUND), "the first round");
      const set = await client.groups.setCanary("billing", {
        version: "2.0",
        percent: 25,
        minObservations: 40,
        reason: "release 2.0",
      });
      assert.match(set.note ?? "", /no member has version 2.0/);
      const bad = ledger.consumer(client, "2.0");
      working.push(ledger.work(bad, true));
      await until(
        async () => (await client.groups.canary("billing")).partitions.length === 2 ? true : null,
        "the canary's share",
      );
      const withdrawn = await until(async () => {
        await send(client, A_ROUND / 4);
        const canary = await client.groups.canary("billing");
        return canary.state === "withdrawn" ? canary : null;
      }, "the withdrawal");
      assert.equal(withdrawn.changedBy, "system:canary-judge");
      assert.equal(withdrawn.canary.nackRate, 1);
      assert.equal(withdrawn.rest.nackRate, 0);
      assert.ok(withdrawn.canary.answered >= 40);

      const group = await until(async () => {
        const found = await get(broker.url, "/api/groups/billing");
        const held = found.members.filter(({ version }: Data) => version === "2.0")
          .flatMap(({ assignment, revoking }: Data) => [...assignment, ...revoking]);
        return found.state === "stable" && held.length === 0 ? found : null;
      }, "its partitions to go back");
      assert.equal(group.members.length, 3, "it stays a member");
      assert.equal(group.assignment.length, PARTITIONS);

      for (let round = 0; round < ROUNDS; round++) await send(client, A_ROUND);
      await until(done(all.size), "every message, by a good version");
      const entries = await until(async () => {
        const found = (await get(broker.url, "/api/audit?action=canary.withdraw")).entries;
        return found.length > 0 ? found : null;
      }, "the audit entry");
      assert.deepEqual(
        [entries.length, entries[0].actor, entries[0].resource],
        [1, "system:canary-judge", { type: "group", name: "billing" }],
      );
      const alert = await until(async () => {
        const { alerts } = await get(broker.url, "/api/alerts?name=canary-withdrawn&state=firing");
        return alerts[0] ?? null;
      }, "the alert");
      assert.equal(alert.resource.name, "billing");
      const metrics = await (await fetch(`${broker.url}/metrics`)).text();
      assert.match(metrics, /^waybill_canaries_withdrawn_total 1$/m);
      assert.match(metrics, /^waybill_canaries\{state="withdrawn"\} 1$/m);
      await Promise.all([...good, bad].map((consumer) => consumer.close()));
      await Promise.all(working);
      await broker.stop("SIGKILL");
    }
    await using broker = await startBrokerProcess({ dataDir });
    await using client = new WaybillClient({ url: broker.url });
    const canary = await client.groups.canary("billing");
    assert.deepEqual([canary.state, canary.canary.nackRate], ["withdrawn", 1]);
    const good = ledger.consumer(client, "1.0");
    const working = ledger.work(good, false);
    await send(client, A_ROUND);
    await until(
      () => Promise.resolve(ledger.done.size === all.size ? true as const : null),
      "every message after the kill",
    );
    assert.equal((await get(broker.url, "/api/dlq?topic=orders")).deadLetters.length, 0);
    await until(async () => {
      const { retries } = await get(broker.url, "/api/groups/billing");
      return retries.waiting + retries.inHand === 0 ? true : null;
    }, "retries to be done");
    assert.equal((await get(broker.url, "/api/audit:verify")).intact, true);
    const audited = (await get(broker.url, "/api/audit?action=canary.withdraw")).entries;
    assert.equal(audited.length, 1);
    await client.groups.removeCanary("billing", "rolled back");
    await until(async () => {
      const { alerts } = await get(broker.url, "/api/alerts?name=canary-withdrawn");
      return alerts.every(({ state }: Data) => state === "resolved") ? true : null;
    }, "the end of the alert");
    await good.close();
    await working;
  });
});
