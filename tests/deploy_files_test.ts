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
/** What rules make of them. */
const RECORDED = /\bwaybill:\w+:\w+/g;
const RULES = ["rules", "slo"] as const;

interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly annotations?: { readonly handbook?: string };
}

async function allRules(): Promise<Rule[]> {
  const files = await Promise.all(RULES.map((name) => read(`prometheus/${name}.yaml`)));
  return files.flatMap((file) =>
    parse(file).groups.flatMap(({ rules }: { rules: Rule[] }) => rules)
  );
}

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
  const rules = await allRules();
  const recorded = new Set(rules.map(({ record }) => record));
  const scaled = parse(await read("keda/scaledobject.yaml"));
  const expressions: string[] = [
    ...rules.map(({ expr }) => expr),
    ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
    scaled.spec.triggers[0].metadata.query,
  ];
  for (const expression of expressions) {
    const asked = expression.match(METRIC) ?? [];
    for (const name of asked) assert.ok(names.has(name), `${name} of ${expression}`);
    const made = expression.match(RECORDED) ?? [];
    for (const name of made) assert.ok(recorded.has(name), `${name} of ${expression}`);
    const isOfScrapes = expression.includes(`up{job="waybill"}`);
    assert.ok(asked.length + made.length > 0 || isOfScrapes, expression);
  }
});

Deno.test("every alert of Prometheus names a page of the handbook that there is", async () => {
  for (const { alert, annotations } of await allRules()) {
    if (alert === undefined) continue;
    const page = annotations?.handbook ?? "";
    assert.match(page, /^ops\/handbook\/[\w/-]+\.md$/, alert);
    const found = await Deno.stat(new URL(`../${page}`, import.meta.url)).catch(() => null);
    assert.ok(found?.isFile, `${alert}: ${page}`);
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
    for (const name of RULES) {
      await run("check", "rules", `${name}.yaml`);
      await run("test", "rules", `${name}_test.yaml`);
    }
  },
});
