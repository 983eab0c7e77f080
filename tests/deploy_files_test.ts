// Owns proof that the files for Prometheus, Grafana and KEDA ask only for what a broker tells, and that the rules hold.
// Refuses to own the metrics themselves. Invariant: promtool judges the rules; without it the test is seen to be skipped.
import assert from "node:assert/strict";
import { parse } from "yaml";
import { partitionMetricsRoutes } from "../ops/metrics/partition_routes.ts";
import { metricsRoutes } from "../ops/metrics/routes.ts";
import dashboard from "../ops/deploy/grafana/dashboard.json" with { type: "json" };
import { measuredApi } from "./support/measured_api.ts";

const DEPLOY = new URL("../ops/deploy/", import.meta.url);
const METRIC = /\b(?:waybill|kafka)_[a-z_]+/g;

async function read(path: string): Promise<string> {
  return await Deno.readTextFile(new URL(path, DEPLOY));
}

/** Names that a broker tells, also while they have no series yet. */
async function toldNames(): Promise<Set<string>> {
  const api = await measuredApi({
    routes: (measuring) => [
      metricsRoutes("1", undefined, measuring),
      partitionMetricsRoutes(measuring.lags),
    ],
  });
  const text = await (await api.app.request("/metrics")).text();
  await api.close();
  const names = new Set<string>();
  for (const [, name, type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    names.add(name!);
    if (type === "histogram") {
      for (const suffix of ["bucket", "sum", "count"]) names.add(`${name}_${suffix}`);
    }
  }
  return names;
}

Deno.test("rules, dashboard and scaling ask only for metrics that a broker tells", async () => {
  const names = await toldNames();
  const rules = parse(await read("prometheus/rules.yaml"));
  const scaled = parse(await read("keda/scaledobject.yaml"));
  const expressions: string[] = [
    ...rules.groups.flatMap(({ rules }: { rules: { expr: string }[] }) =>
      rules.map(({ expr }) => expr)
    ),
    ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
    scaled.spec.triggers[0].metadata.query,
  ];
  for (const expression of expressions) {
    const asked = expression.match(METRIC) ?? [];
    assert.ok(asked.length > 0, expression);
    for (const name of asked) assert.ok(names.has(name), `${name} of ${expression}`);
  }
});

Deno.test("scaling counts no lag of stalled partitions", async () => {
  const { spec } = parse(await read("keda/scaledobject.yaml"));
  assert.match(
    spec.triggers[0].metadata.query,
    /waybill_group_lag.*- sum\(waybill_group_stalled_lag/,
  );
});

Deno.test("panels of the dashboard have places of their own and queries", () => {
  const places = dashboard.panels.map(({ gridPos: { x, y } }) => `${x} ${y}`);
  assert.equal(new Set(places).size, dashboard.panels.length);
  for (const { title, targets } of dashboard.panels) assert.ok(targets.length > 0, title);
});

function hasPromtool(): boolean {
  try {
    return new Deno.Command("promtool", { args: ["--version"], stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch {
    return false;
  }
}

Deno.test({
  name: "promtool finds the rules right on both sides of their limits",
  // On the build machine it has to be there.
  ignore: !hasPromtool() && Deno.env.get("CI") === undefined,
  fn: async () => {
    const run = async (...args: string[]) => {
      const cwd = new URL("prometheus/", DEPLOY);
      const { success, stdout, stderr } = await new Deno.Command("promtool", { args, cwd })
        .output();
      const text = new TextDecoder();
      assert.ok(success, text.decode(stdout) + text.decode(stderr));
    };
    await run("check", "rules", "rules.yaml");
    await run("test", "rules", "rules_test.yaml");
  },
});
