// Tests of which poll gets which messages: the rules of lease tokens alone.
import assert from "node:assert/strict";
import { type LeasedRange, Leases } from "../api/members/leases.ts";

const RANGE: LeasedRange = { topic: "orders", partition: 0, from: 0, to: 5 };
const committed = () => true;
const open = () => false;

function leased(asked: string | undefined = "t0"): Leases {
  const leases = new Leases("t0", { adopted: false });
  leases.renew({ token: "t1", ranges: [RANGE], retries: [] }, asked);
  return leases;
}

Deno.test("the last token gets the same again while anything is uncommitted, and new ones afterwards", () => {
  assert.equal(leased().again("t1", open)?.token, "t1");
  assert.equal(leased().again("t1", committed), null);
  const partly = (range: LeasedRange) => range.partition === 0;
  const leases = new Leases("t0", { adopted: false });
  leases.renew({ token: "t1", ranges: [RANGE, { ...RANGE, partition: 1 }], retries: [] }, "t0");
  assert.deepEqual(leases.again("t1", partly)?.ranges.length, 2, "all of it, not the rest");
});

Deno.test("the token before the last gets the lost answer, whatever is committed", () => {
  assert.equal(leased().again("t0", open)?.token, "t1");
  assert.equal(leased().again("t0", committed)?.token, "t1");
});

Deno.test("without a token there are always new messages", () => {
  assert.equal(leased().again(undefined, open), null);
});

Deno.test("any other token is stale", () => {
  assert.throws(() => leased().again("t7", open), { code: "STALE_LEASE" });
  const leases = leased();
  leases.renew({ token: "t2", ranges: [RANGE], retries: [] }, "t1");
  assert.throws(() => leases.again("t0", open), { code: "STALE_LEASE" });
  leases.renew({ token: "t3", ranges: [RANGE], retries: [] }, undefined);
  assert.equal(
    leases.again("t2", open),
    leases.latest,
    "the caller may hold it, whatever it asked with",
  );
});

Deno.test("the first token after a join has nothing to give again", () => {
  assert.equal(new Leases("t0", { adopted: false }).again("t0", open), null);
  assert.throws(() => new Leases("t0", { adopted: false }).again("x", open), {
    code: "STALE_LEASE",
  });
});

Deno.test("after a restart the first poll may bring any token, the next one may not", () => {
  const leases = new Leases("t0", { adopted: true });
  assert.equal(leases.again("of an earlier life", open), null);
  leases.renew({ token: "t1", ranges: [RANGE], retries: [] }, "of an earlier life");
  assert.equal(leases.again("of an earlier life", open)?.token, "t1", "the answer was lost");
  assert.throws(() => leases.again("another", open), { code: "STALE_LEASE" });
});

Deno.test("what was taken away is no longer leased", () => {
  const leases = leased();
  leases.keepOnly(({ partition }) => partition !== 0);
  assert.equal(leases.again("t1", open), null);
  assert.equal(leases.again("t0", open), null);
});
