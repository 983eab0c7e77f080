// Owns the tests of what the log says while encryption keys are missing. Refuses to own what that does to logs.
import assert from "node:assert/strict";
import { MissingKeys } from "../ops/missing_keys.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { masterKeyMissing } from "../storage/encryption/master_keys.ts";
import { VirtualClock } from "./support/virtual_time.ts";

function scene() {
  const time = new VirtualClock();
  const told: string[] = [];
  const topics: Record<string, string> = { "topics/1/0": "orders", "topics/2/0": "salaries" };
  const missing = new MissingKeys({
    clock: time,
    timers: time,
    topicOf: (log) => topics[log] ?? null,
    report: (message) => told.push(message),
  });
  return { time, told, missing };
}

Deno.test("a missing key is told in one line with all its topics, and again only after ten minutes or for a new topic", async () => {
  const { time, told, missing } = scene();
  const retry = (log: string) => missing.takes(masterKeyMissing(log, ["aa"]));
  for (let round = 0; round < 100; round++) {
    assert.ok(retry("topics/1/0"));
    assert.ok(retry("topics/2/0"));
    await time.advance(100);
  }
  assert.equal(told.length, 1);
  assert.match(
    told[0]!,
    /^encryption key aa is missing: orders, salaries cannot.*encryptionKeyFile/,
  );
  retry("topics/3/0");
  await time.advance(1_000);
  assert.match(told[1]!, /missing: log topics\/3\/0 cannot/);
  await time.advance(600_000);
  retry("topics/1/0");
  await time.advance(1_000);
  assert.equal(told.length, 3);
  missing.takes(masterKeyMissing("topics/1/0", []));
  await time.advance(1_000);
  assert.match(told[3]!, /^an encryption key is needed: orders cannot.*Start with/);
});

Deno.test("restarts of an actor whose key is missing are told with the key, any other fault by itself", () => {
  const { missing } = scene();
  const failed = (error: unknown) =>
    missing.takesEvent({ type: "actor.failed", actorId: "group-shard/0", error });
  const restarting = () =>
    missing.takesEvent({
      type: "actor.restarting",
      actorId: "group-shard/0",
      delayMs: 1,
      restarts: 1,
    });
  const cause = masterKeyMissing("topics/1/0", ["aa"]);
  assert.ok(failed(new BrokerError("ACTOR_DOWN", "is down", {}, { cause })));
  assert.ok(restarting());
  assert.equal(failed(new Error("broken")), false);
  assert.equal(restarting(), false);
  assert.equal(missing.takes(undefined), false);
});
