// Owns proof of who carries out the end of a transaction whose journal moves to another broker.
// Refuses to own what the end is (transaction_decide_test.ts). Invariant: virtual time.
import assert from "node:assert/strict";
import { Finisher } from "../actors/transaction/finisher.ts";
import type { EndPlan } from "../actors/transaction/types.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

const PLAN: EndPlan = {
  transactionalId: "copier",
  producerId: 7,
  producerEpoch: 0,
  commit: true,
  partitions: [{ topic: "orders", partition: 0, topicId: "x" }],
  groups: [],
};

Deno.test("an end is tried again until it is carried out, or is another broker's to carry out", async () => {
  const time = new VirtualClock();
  let isOurs = true;
  let tries = 0;
  const finisher = new Finisher({
    ports: {
      timers: time,
      report: () => {},
      groups: { stage: () => Promise.resolve(), end: () => Promise.resolve() },
      logs: {
        topicIdOf: () => "x",
        append: () => Promise.reject(new Error("nothing is appended")),
        nextSequence: () => Promise.resolve(0),
        writeMarker: () => {
          tries++;
          return Promise.reject(new BrokerError("LEADER_NOT_AVAILABLE", "nobody leads it"));
        },
      },
    },
    coordinatorEpoch: () => 1,
    isOurs: () => isOurs,
    quiet: () => Promise.resolve(),
    finished: () => Promise.reject(new BrokerError("NOT_LEADER", "another broker leads it")),
  });
  finisher.start(PLAN, (work) => work());
  let isSettled = false;
  void finisher.settled(PLAN, 60_000).then(() => isSettled = true);
  await time.advance(2_000);
  assert.ok(tries > 3);
  assert.equal(isSettled, false);
  isOurs = false;
  await time.advance(5_000);
  assert.equal(isSettled, true, "who waits is told long before its time is over");
  const triesThen = tries;
  await time.advance(60_000);
  assert.equal(tries, triesThen, "it is left to the other broker");
  await finisher.close();
  await settle();
});
