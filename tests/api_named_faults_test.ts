// Owns that a refused body says which field is wrong and what it should be, where several shapes are allowed.
// Refuses to own what each route takes. Invariant: no fault says no more than that the input is invalid.
import assert from "node:assert/strict";
import { apiUnderTest } from "./support/api_app.ts";

const PLACE =
  "must be an offset, earliest, latest, or @ and a time (ms since the epoch or RFC 3339)";
const TIME = "must be ms since the epoch or RFC 3339";
const PAST = "must be { snapshotId } or { time }";
const TARGET = "must be { topic } or { group }";

Deno.test("a fault of a field that may be one of several things says what they are", async () => {
  const api = await apiUnderTest();
  const replay = { topic: "orders", partition: 0, from: 0, to: 1 };
  const rollback = { reason: "r", dryRun: true };
  const cases: [string, object, string][] = [
    ["messages:replay", { ...replay, to: undefined }, `to: ${PLACE}`],
    ["messages:replay", { ...replay, to: "soon" }, `to: ${PLACE}`],
    ["messages:replay", { ...replay, from: -1 }, "from: Too small"],
    ["messages:replay", { ...replay, target: {} }, `target: ${TARGET}`],
    ["messages:replay", { ...replay, target: "copy" }, `target: ${TARGET}`],
    ["messages:replay", { ...replay, target: { topic: "a", group: "b" } }, `target: ${TARGET}`],
    ["messages:replay", { ...replay, target: { topic: "a b" } }, "target.topic: "],
    ["groups/g/offsets:rollback", { ...rollback }, `to: ${PAST}`],
    ["groups/g/offsets:rollback", { ...rollback, to: {} }, `to: ${PAST}`],
    ["groups/g/offsets:rollback", { ...rollback, to: { time: "soon" } }, `to.time: ${TIME}`],
    ["groups/g/offsets:rollback", { ...rollback, to: { snapshotId: "?" } }, "to.snapshotId: "],
    ["groups/g/offsets:reset", { ...rollback, topic: "orders" }, "to: must be an offset, earliest"],
  ];
  for (const [path, body, detail] of cases) {
    const answer = await api.ask("POST", `/api/${path}`, { body });
    assert.deepEqual([answer.status, answer.body.code], [400, "INVALID_REQUEST"], path);
    assert.ok(answer.body.detail.startsWith(detail), `${answer.body.detail} for ${detail}`);
    assert.notEqual(answer.body.errors[0].message, "Invalid input");
  }
  await api.close();
});

Deno.test("a rollback's time may begin with @ as where it stands for an offset", async () => {
  const api = await apiUnderTest();
  await api.ask("POST", "/api/topics", { body: { name: "orders" } });
  const offsets = [{ topic: "orders", partition: 0, offset: 0 }];
  await api.ask("POST", "/api/offsets:commit", { body: { groupId: "g", offsets } });
  const ask = async (time: unknown) => {
    const body = { to: { time }, reason: "r", dryRun: true };
    return (await api.ask("POST", "/api/groups/g/offsets:rollback", { body })).status;
  };
  const now = api.time.now();
  const text = new Date(now).toISOString();
  for (const time of [now, text, `@${now}`, `@${text}`]) assert.equal(await ask(time), 200);
  assert.equal(await ask("@@0"), 400);
  await api.close();
});
