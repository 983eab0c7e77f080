// Owns tests of what `doctor` finds: against a broker that is well, and answers of one that is not.
import assert from "node:assert/strict";
import { figuresIn } from "../ops/cli/checks.ts";
import { cli } from "./support/cli_run.ts";
import { consumingServer } from "./support/consuming_server.ts";

type Answers = Readonly<Record<string, unknown>>;

const WELL: Answers = {
  "/livez": { status: "alive" },
  "/readyz": { status: "ready", problems: [] },
  "/api/topics": { topics: [] },
  "/api/cluster": { offlinePartitions: [], underReplicatedPartitions: [] },
  "/api/overview": { now: { groups: [], point: { totalLag: 0 } } },
  "/api/alerts": { alerts: [] },
  "/metrics": "waybill_disk_free_bytes 1e12\nwaybill_storage_bytes 5\n" +
    "waybill_event_loop_delay_seconds 0.001\n",
  "/api/audit": { entries: [], head: { sequence: 3, hash: "x" } },
};

/** What `doctor` says of a broker that answers so, by the names of the checks. */
async function diagnosis(answers: Answers, { skewMs = 0, token = "" } = {}) {
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
    const answer = { ...WELL, ...answers }[new URL(request.url).pathname];
    const headers = { date: new Date(Date.now() + skewMs).toUTCString() };
    if (answer instanceof Response) return answer.clone();
    if (typeof answer === "string") return new Response(answer, { headers });
    return Response.json(answer, { headers });
  });
  const environment = {
    WAYBILLCTL_URL: `http://127.0.0.1:${server.addr.port}`,
    WAYBILLCTL_TOKEN: token,
  };
  try {
    const { code, json } = await cli(["doctor", "--json"], { environment });
    const { checks } = json() as { checks: { check: string; status: string; detail: string }[] };
    return { code, checks: new Map(checks.map((each) => [each.check, each])) };
  } finally {
    await server.shutdown();
  }
}

function problem(status: number, code: string): Response {
  return Response.json({ code, detail: code, retryable: false }, { status });
}

Deno.test("a broker that is well passes every check", async () => {
  const { code, checks } = await diagnosis({});
  assert.equal(code, 0);
  assert.deepEqual([...checks.values()].filter(({ status }) => status !== "ok"), []);
  assert.equal(checks.size, 11);
});

Deno.test("doctor fails for what hurts, and names it", async () => {
  const offline = [{ topic: "orders", partition: 3 }];
  const stalled = [{ group: "billing", stalledLag: 9 }, { group: "other", stalledLag: 0 }];
  const firing = { severity: "P1", name: "consumer-lag", resource: { type: "group", name: "g" } };
  const cases: [string, Answers, RegExp][] = [
    ["partitions", {
      "/api/cluster": { offlinePartitions: offline, underReplicatedPartitions: [] },
    }, /orders\/3/],
    [
      "groups",
      { "/api/overview": { now: { groups: stalled, point: { totalLag: 9 } } } },
      /^stalled: billing \(9 behind\)$/,
    ],
    ["alerts", { "/api/alerts": { alerts: [firing] } }, /P1 consumer-lag \(group g\)/],
    ["disk", { "/metrics": "waybill_disk_free_bytes 1000\n" }, /1000 B free/],
    ["credential", { "/api/topics": problem(401, "UNAUTHENTICATED") }, /one is needed/],
    ["audit", { "/api/audit": { head: { sequence: 1 }, unreadable: 2 } }, /2 entries/],
  ];
  for (const [check, answers, says] of cases) {
    const { code, checks } = await diagnosis(answers);
    assert.equal(code, 1, check);
    assert.equal(checks.get(check)!.status, "fail", check);
    assert.match(checks.get(check)!.detail, says);
  }
});

Deno.test("a broker that is not ready fails the check with its problems", async () => {
  const unready = Response.json({ status: "unready", problems: ["disk full"] }, { status: 503 });
  const { code, checks } = await diagnosis({ "/readyz": unready });
  assert.equal(code, 1);
  assert.deepEqual([checks.get("ready")!.status, checks.get("ready")!.detail], [
    "fail",
    "disk full",
  ]);
});

Deno.test("clocks that are apart are told, a little as a warning, much as a failure", async () => {
  const cases: [number, string, number][] = [
    [0, "ok", 0],
    [-15_000, "warn", 0],
    [15_000, "warn", 0],
    [-90_000, "fail", 1],
    [90_000, "fail", 1],
  ];
  for (const [skewMs, status, exitCode] of cases) {
    const { code, checks } = await diagnosis({}, { skewMs });
    assert.deepEqual([checks.get("clock")!.status, code], [status, exitCode], `${skewMs}`);
  }
});

Deno.test("what a credential may not look at is skipped, and fails nothing", async () => {
  const { code, checks } = await diagnosis({
    "/api/cluster": problem(403, "FORBIDDEN"),
    "/api/overview": problem(403, "FORBIDDEN"),
    "/metrics": problem(403, "FORBIDDEN"),
  }, { token: "wbk_one" });
  assert.equal(code, 0);
  for (const check of ["partitions", "groups"]) {
    assert.equal(checks.get(check)!.status, "skipped");
  }
  assert.match(checks.get("credential")!.detail, /^that of variable WAYBILLCTL_TOKEN is accepted$/);
});

Deno.test("doctor works with the routes of a real broker", async () => {
  const server = await consumingServer();
  try {
    const { code, out } = await cli(["doctor", "--url", server.url]);
    assert.equal(code, 0, out);
    assert.match(out, /partitions +ok +all are online/);
  } finally {
    await server.close();
  }
});

Deno.test("figures are read from Prometheus' text, those with labels left out", () => {
  const figures = figuresIn('# HELP a b\na_total 12\nb{c="d"} 3\ne 1.5e+3\n');
  assert.deepEqual([...figures], [["a_total", 12], ["e", 1_500]]);
});
