// Owns proof that a refused request names the field that is wrong, wherever it stands and whatever kind of fault it is.
// Refuses to own which fields there are. Invariant: no fault of a field has an empty path.
import assert from "node:assert/strict";
import { apiUnderTest, FORMATS } from "./support/api_app.ts";

const message = { value: "x" };
const commit = { groupId: "g", offsets: [{ topic: "orders", partition: 0, offset: 0 }] };

const CASES: readonly (readonly [string, string, unknown, readonly string[]])[] = [
  ["POST", "/api/topics", { name: "t", partitons: 3 }, ["partitons"]],
  ["POST", "/api/topics", { name: "t", a: 1, b: 2 }, ["a", "b"]],
  ["POST", "/api/messages:publish", { topic: "orders", messages: [message], ack: "all" }, ["ack"]],
  [
    "POST",
    "/api/messages:publish",
    { topic: "orders", messages: [message, { ...message, kee: "k" }] },
    ["messages[1].kee"],
  ],
  [
    "POST",
    "/api/messages:publish",
    { topic: "orders", messages: [{ ...message, transactionId: "t" }] },
    ["messages[0].transactionId"],
  ],
  [
    "POST",
    "/api/offsets:commit",
    { ...commit, offsets: [{ ...commit.offsets[0], ofset: 1 }] },
    ["offsets[0].ofset"],
  ],
  ["POST", "/api/groups/g/offsets:reset", { topic: "orders", to: [], reason: "r" }, ["to"]],
  ["POST", "/api/groups/g/offsets:rollback", { to: { time: "soon" }, reason: "r" }, ["to.time"]],
  ["GET", "/api/topics?limt=3", undefined, ["limt"]],
  ["GET", "/api/cluster?x=1", undefined, ["x"]],
];

for (const format of FORMATS) {
  Deno.test(`an unknown or unsupported field is named by its path (${format})`, async (test) => {
    const api = await apiUnderTest();
    await api.ask("POST", "/api/topics", { body: { name: "orders" } });
    for (const [method, path, body, paths] of CASES) {
      await test.step(`${method} ${path} ${JSON.stringify(paths)}`, async () => {
        const options = body === undefined ? {} : { body };
        const answer = await api.ask(method, path, { format, ...options });
        assert.deepEqual([answer.status, answer.body.code], [400, "INVALID_REQUEST"]);
        const faults = answer.body.errors as { path: string; message: string }[];
        assert.deepEqual(faults.map((fault) => fault.path), paths);
        assert.ok(answer.body.detail.startsWith(`${paths[0]}: `), answer.body.detail);
      });
    }
    await api.close();
  });
}

Deno.test("a thousand unknown fields are told with a bounded number of faults", async () => {
  const api = await apiUnderTest();
  const fields = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`f${i}`, 1]));
  const answer = await api.ask("POST", "/api/topics", { body: { name: "t", ...fields } });
  assert.equal(answer.body.errors.length, 20);
  await api.close();
});
