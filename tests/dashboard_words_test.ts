// Owns proof of the dashboard's pure parts: addresses, figures in words, sorting, drawings, what stands first.
// Refuses to own the page in a browser (e2e_dashboard_test.ts).
// Invariant: whatever names and figures there are, nothing throws and nothing is told that is not known.
import assert from "node:assert/strict";
import fc from "fast-check";
import { ApiClient, ApiProblem, pathOf, searchOf, textOf } from "../api/dashboard/api_client.ts";
import { lonePoints, tableRows } from "../api/dashboard/chart_table.ts";
import * as format from "../api/dashboard/format.ts";
import { sparkPath } from "../api/dashboard/geometry.ts";
import { executionTone } from "../api/dashboard/pages/runbooks/wording.ts";
import { hrefOf, placeOf } from "../api/dashboard/router.ts";
import { sortedRows } from "../api/dashboard/sorting.ts";
import { Store } from "../api/dashboard/store.ts";

Deno.test("an address names the place that it was made of, whatever the names", () => {
  const name = fc.string({ minLength: 1 });
  const query = fc.dictionary(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }));
  fc.assert(fc.property(fc.array(name, { maxLength: 3 }), query, (path, query) => {
    assert.deepEqual(placeOf(hrefOf(path, query)), { path, query: { ...query } });
  }));
  assert.deepEqual(placeOf(""), { path: [], query: {} });
  assert.deepEqual(placeOf("#/groups/a%2Fb?tab=x"), {
    path: ["groups", "a/b"],
    query: { tab: "x" },
  });
  assert.deepEqual(placeOf("#/%zz").path, ["%zz"]);
  assert.equal(hrefOf(["topics"], { tab: undefined, filter: "" }), "#/topics");
});

Deno.test("an execution that was only to look is not told as one that needs somebody", () => {
  const toneOf = (state: "partial" | "waiting" | "verified", mode: "observe" | "auto") =>
    executionTone({ state, mode });
  assert.equal(toneOf("partial", "auto"), "bad");
  assert.equal(toneOf("partial", "observe"), "quiet");
  assert.equal(toneOf("waiting", "observe"), "warn");
  assert.equal(toneOf("verified", "auto"), "ok");
});

Deno.test("figures are written short, and what is not known as a dash", () => {
  assert.equal(format.count(1_234_567), "1,234,567");
  assert.equal(format.count(null), "–");
  for (
    const [value, words] of [
      [0, "0"],
      [7.25, "7.3"],
      [999, "999"],
      [999.6, "1k"],
      [1_240, "1.24k"],
      [
        15_320_000,
        "15.3M",
      ],
    ] as const
  ) assert.equal(format.shortCount(value), words);
  for (
    const [value, words] of [[0, "0 B"], [1_023, "1023 B"], [1_024, "1 KiB"], [
      1_610_612_736,
      "1.5 GiB",
    ]] as const
  ) assert.equal(format.bytes(value), words);
  assert.equal(format.percent(0), "0%");
  assert.equal(format.percent(0.0123), "1.23%");
  assert.equal(format.percent(0.99951), "100%");
  assert.equal(format.milliseconds(0.444), "0.44 ms");
  assert.equal(format.milliseconds(2_500), "2.5 s");
});

Deno.test("durations have two units at most, and change units where those are full", () => {
  for (
    const [seconds, words] of [
      [0.25, "0.3 s"],
      [9.9, "9.9 s"],
      [59.4, "59 s"],
      [59.6, "1 min"],
      [200, "3 min 20 s"],
      [3_600, "1 h"],
      [7_500, "2 h 5 min"],
      [90_000, "1 d 1 h"],
      [-3, "0 s"],
      [Number.NaN, "–"],
    ] as const
  ) assert.equal(format.duration(seconds), words);
  assert.equal(format.ago(1_000, 61_500), "1 min ago");
  assert.equal(format.ago(1_000, 900), "now");
  assert.equal(format.plural(1, "member"), "1 member");
  assert.equal(format.plural(0, "member"), "0 members");
});

Deno.test("times of another day are written with their day", () => {
  const noon = new Date(2026, 2, 1, 12, 0, 5).getTime();
  assert.equal(format.clockTime(noon, noon + 1_000), "12:00:05");
  assert.equal(format.clockTime(noon, noon + 86_400_000), "2026-03-01 12:00:05");
  assert.equal(format.dateTime(noon), "2026-03-01 12:00:05");
});

Deno.test("rows are sorted as people count, stably, with the unknown last either way", () => {
  const rows = ["p10", "p2", null, "P1", "p2"].map((key, index) => ({ key, index }));
  const order = (direction: "ascending" | "descending") =>
    sortedRows(rows, ({ key }) => key, direction).map(({ index }) => index);
  assert.deepEqual(order("ascending"), [3, 1, 4, 0, 2]);
  assert.deepEqual(order("descending"), [0, 1, 4, 3, 2]);
  assert.deepEqual(sortedRows([3, 20, 1], (value) => value, "descending"), [20, 3, 1]);
});

Deno.test("a small line stays in its box, whatever the values", () => {
  const values = fc.array(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), { minLength: 2 });
  fc.assert(fc.property(values, (values) => {
    const { line, end } = sparkPath(values, { width: 90, height: 20 });
    for (const [, x, y] of line.matchAll(/[ML](\S+) ([^ML]+)/g)) {
      assert.ok(Number(x) >= 0 && Number(x) <= 90 && Number(y) >= 0 && Number(y) <= 20, line);
    }
    assert.equal(end.x, 87);
  }));
  assert.equal(sparkPath([0, 0], { width: 90, height: 20 }).line, "M3 17L87 17");
});

Deno.test("a chart's table holds fifteen points at most, the newest first", () => {
  const times = Array.from({ length: 900 }, (_, index) => index);
  const rows = tableRows(times, [times, times.map(() => null)]);
  assert.equal(rows.length, 15);
  assert.deepEqual(rows[0], { at: 899, values: [899, null] });
  assert.deepEqual(tableRows([], [[]]), []);
  assert.equal(tableRows([1, 2], [[5, 6]]).length, 2);
});

Deno.test("values without neighbours are those that no line shows", () => {
  assert.deepEqual(lonePoints([1, null, 2, 3, null, 4]), [0, 5]);
  assert.deepEqual(lonePoints([null, undefined]), []);
  assert.deepEqual(lonePoints([7]), [0]);
});

Deno.test("a store tells of changes only, until nobody listens", () => {
  const store = new Store(1);
  const heard: number[] = [];
  const stop = store.onChange(() => heard.push(store.value));
  store.set(1);
  store.set(2);
  stop();
  store.set(3);
  assert.deepEqual(heard, [2]);
});

/** A client that is answered `response` and notes what it was asked. */
function client(response: () => Response, token: string | null = "s3cret") {
  const asked: { url: string; init: RequestInit }[] = [];
  const refused: (string | null)[] = [];
  const api = new ApiClient({
    token: () => token,
    onUnauthenticated: (token) => refused.push(token),
    fetch: ((url: string, init: RequestInit) => {
      asked.push({ url, init });
      return Promise.resolve().then(response);
    }) as typeof fetch,
  });
  return { api, asked, refused };
}

Deno.test("the client sends the token, the query's values that there are, and a body as JSON", async () => {
  const { api, asked } = client(() => Response.json({ topics: [1], nextCursor: "c" }));
  const page = await api.page("/api/topics", "topics", {
    query: { limit: 5, cursor: null, q: "" },
  });
  assert.deepEqual(page, { entries: [1], nextCursor: "c" });
  await api.post("/api/x", { a: 1 }, { headers: { "idempotency-key": "k" } });
  assert.equal(asked[0]!.url, "/api/topics?limit=5");
  assert.deepEqual(asked[1]!.init.headers, {
    accept: "application/json",
    "idempotency-key": "k",
    authorization: "Bearer s3cret",
    "content-type": "application/json",
  });
  assert.equal(asked[1]!.init.body, '{"a":1}');
  const { api: nobody, asked: bare } = client(() => new Response(null, { status: 204 }), null);
  assert.equal(await nobody.delete("/api/x"), undefined);
  assert.deepEqual(bare[0]!.init.headers, { accept: "application/json" });
});

Deno.test("problems are told in the broker's words, anything else in the client's", async () => {
  const problem = {
    code: "UNKNOWN_GROUP",
    detail: "no group x",
    retryable: false,
    requestId: "r1",
  };
  const known = client(() => Response.json(problem, { status: 404 }));
  await assert.rejects(known.api.get("/x"), (error) => {
    assert.ok(error instanceof ApiProblem);
    assert.deepEqual([error.status, error.code, error.more.requestId], [
      404,
      "UNKNOWN_GROUP",
      "r1",
    ]);
    assert.equal(textOf(error), "UNKNOWN_GROUP: no group x");
    return true;
  });
  const proxy = client(() => new Response("<h1>Bad gateway</h1>", { status: 502 }));
  await assert.rejects(proxy.api.get("/x"), /the broker answered 502/);
  const gone = client(() => {
    throw new TypeError("fetch failed");
  });
  await assert.rejects(gone.api.get("/x"), /the broker cannot be reached/);
  const odd = client(() => Response.json({ entries: [] }));
  await assert.rejects(odd.api.page("/x", "topics"), /holds no list "topics"/);
});

Deno.test("a refused token is told to who asks for another, and one that was changed meanwhile is not", async () => {
  const { api, refused } = client(() => Response.json({}, { status: 401 }));
  await assert.rejects(api.get("/x"));
  assert.deepEqual(refused, ["s3cret"]);
  let token = "old";
  const late = new ApiClient({
    token: () => token,
    onUnauthenticated: () => assert.fail("the new token was not refused"),
    fetch: () => {
      token = "new";
      return Promise.resolve(Response.json({}, { status: 401 }));
    },
  });
  await assert.rejects(late.get("/x"));
});

Deno.test("paths and queries hold names as they are", () => {
  assert.equal(pathOf("api", "groups", "a/b c"), "/api/groups/a%2Fb%20c");
  assert.equal(searchOf({ topic: "a&b", none: undefined, flag: false }), "?topic=a%26b&flag=false");
});
