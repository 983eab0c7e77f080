// Owns proof that calls share slots fairly.
import assert from "node:assert/strict";
import { Slots } from "../storage/turns.ts";
import { settle } from "./support/virtual_time.ts";

Deno.test("slots let no more calls run than there are, in the order they came", async () => {
  const slots = new Slots(2);
  const started: number[] = [];
  const ends: (() => void)[] = [];
  const calls = [0, 1, 2, 3, 4].map((n) =>
    slots.run(() => {
      started.push(n);
      return new Promise<void>((resolve) => ends[n] = resolve);
    })
  );
  await settle();
  assert.deepEqual(started, [0, 1]);
  ends[1]!();
  await settle();
  assert.deepEqual(started, [0, 1, 2]);
  ends[0]!();
  ends[2]!();
  await settle();
  assert.deepEqual(started, [0, 1, 2, 3, 4]);
  ends[3]!();
  ends[4]!();
  await Promise.all(calls);
});

Deno.test("slots are given back by calls that fail", async () => {
  const slots = new Slots(1);
  await assert.rejects(slots.run(() => Promise.reject(new Error("no"))));
  assert.equal(await slots.run(() => Promise.resolve(7)), 7);
  const both = [
    slots.run(() => Promise.reject(new Error("no"))),
    slots.run(() => Promise.resolve(8)),
  ];
  assert.deepEqual((await Promise.allSettled(both)).map(({ status }) => status), [
    "rejected",
    "fulfilled",
  ]);
});
