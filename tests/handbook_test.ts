// Owns proof that the handbook speaks of what there is: pages, figures, commands, routes, links.
// Refuses to own whether its advice is good. Invariant: what a broker can raise or run has a page, and no page is of anything else.
import assert from "node:assert/strict";
import { KNOWN_THRESHOLDS } from "../actors/threshold/defaults.ts";
import { THRESHOLD_NAMES } from "../actors/threshold/types.ts";
import { AVAILABILITY, LATENCY_P99_MS } from "../api/dashboard/pages/slo/objectives.ts";
import { createOverview } from "../api/routes/overview.ts";
import { handbookPage } from "../ops/cli/handbook.ts";
import { DRILLS } from "../ops/drills/catalogue.ts";
import { CLUSTER_DRILLS } from "../ops/drills/cluster/catalogue.ts";
import { partitionMetricsRoutes } from "../ops/metrics/partition_routes.ts";
import { metricsRoutes } from "../ops/metrics/routes.ts";
import type { RunbookPorts } from "../ops/runbooks/definition.ts";
import { allRunbooks } from "../ops/runbooks/install.ts";
import {
  anchorsOf,
  commandFault,
  commandLines,
  HANDBOOK,
  headingsOf,
  linksOf,
  type Page,
  pagesOfHandbook,
  routesNamed,
  tableUnder,
} from "./support/handbook_pages.ts";
import { measuredApi } from "./support/measured_api.ts";
import { runbookScene } from "./support/runbook_scene.ts";

const ALERT_HEADINGS = [
  "What it means",
  "What users notice",
  "What the runbook does",
  "What to check",
  "By hand",
  "When to escalate",
  "Tuning",
];
const RUNBOOK_HEADINGS = [
  "When to use it",
  "Steps",
  "Parameters",
  "Run it",
  "When it ends partial",
  "By hand",
];

async function runbookDefinitions() {
  const { broker } = await runbookScene(allRunbooks);
  const definitions = broker.runbooks.definitions();
  await broker.close();
  return definitions;
}

/** Those that a broker which is alone only declares. */
function namesInClusters(): readonly string[] {
  const ports = { broker: {}, cluster: {} } as unknown as RunbookPorts;
  return allRunbooks(ports).filter(({ definition }) => definition.available)
    .map(({ definition: { name } }) => name);
}

function namesUnder(pages: readonly Page[], folder: string): string[] {
  return pages.filter(({ path }) => path.startsWith(`${folder}/`))
    .map(({ path }) => path.slice(folder.length + 1, -".md".length)).sort();
}

function pageOf(pages: readonly Page[], path: string): Page {
  const page = pages.find((one) => one.path === path);
  assert.ok(page !== undefined, `there is no ${path}`);
  return page;
}

Deno.test("every threshold and every runbook has its page in the handbook, with the same headings", async () => {
  const pages = await pagesOfHandbook();
  const runbooks = (await runbookDefinitions()).map(({ name }) => name);
  assert.deepEqual(namesUnder(pages, "alerts"), [...THRESHOLD_NAMES].sort());
  assert.deepEqual(namesUnder(pages, "runbooks"), [...runbooks].sort());
  const index = linksOf(pageOf(pages, "README.md"));
  for (const { path, text } of pages.filter(({ path }) => path.includes("/"))) {
    const wanted = path.startsWith("alerts/") ? ALERT_HEADINGS : RUNBOOK_HEADINGS;
    assert.deepEqual(headingsOf(text), wanted, path);
    assert.ok(index.includes(path), `the index lacks ${path}`);
  }
});

Deno.test("the page that the command line names for an alert and a runbook is there", async () => {
  const paths = (await pagesOfHandbook()).map(({ path }) => `ops/handbook/${path}`);
  for (const name of THRESHOLD_NAMES) assert.ok(paths.includes(handbookPage("alerts", name)));
  for (const { name } of await runbookDefinitions()) {
    assert.ok(paths.includes(handbookPage("runbooks", name)));
  }
});

Deno.test("pages of alerts show each threshold as it is by default", async () => {
  const pages = await pagesOfHandbook();
  const indexed = tableUnder(pageOf(pages, "README.md").text, "Alerts");
  for (const [name, { definition, defaults }] of KNOWN_THRESHOLDS) {
    const { text } = pageOf(pages, `alerts/${name}.md`);
    const { severity, limit, windowSeconds, forSeconds, clearLimit, clearForSeconds } = defaults;
    const { escalateAfterSeconds, enabled, runbook, mode } = defaults;
    const [row] = tableUnder(text, null);
    assert.deepEqual(row, [
      severity,
      `${limit} ${definition.unit}`,
      `${windowSeconds} s`,
      `${forSeconds} s`,
      `${clearLimit ?? limit} for ${clearForSeconds} s`,
      escalateAfterSeconds === null ? "never" : `${escalateAfterSeconds} s`,
      enabled ? "on" : "off",
      runbook ?? "none",
      runbook === null ? "—" : mode,
    ], name);
    if (runbook !== null) assert.ok(text.includes(`(../runbooks/${runbook}.md)`), name);
    const inIndex = indexed.find(([alert]) => alert!.startsWith(`[${name}]`));
    assert.equal(inIndex?.[1], severity, name);
    assert.equal(inIndex?.[3]?.split("]")[0], runbook === null ? "none" : `[${runbook}`, name);
  }
});

Deno.test("pages of runbooks show the steps, targets and starters that there are", async () => {
  const pages = await pagesOfHandbook();
  const words = (ms: number | null) =>
    ms === null ? "—" : ms >= 60_000 ? `${ms / 60_000} min` : `${ms / 1_000} s`;
  for (const definition of await runbookDefinitions()) {
    const { name, steps, targets, cooldownMs, parameters, targetKinds, available } = definition;
    const { text } = pageOf(pages, `runbooks/${name}.md`);
    const shown = tableUnder(text, "Steps");
    assert.deepEqual(
      shown,
      steps.map(({ name, kind, timeoutMs, title, undo }) => [
        name,
        kind,
        words(timeoutMs),
        title,
        undo ?? "—",
      ]),
      name,
    );
    const starters = [...KNOWN_THRESHOLDS.values()]
      .filter(({ defaults }) => defaults.runbook === name)
      .map(({ definition: { name }, defaults: { mode } }) =>
        `[${name}](../alerts/${name}.md) (${mode})`
      );
    const [facts] = tableUnder(text, null);
    assert.deepEqual(facts, [
      targetKinds.join(", "),
      starters.length === 0 ? "no alert by default" : starters.join(", "),
      words(targets.rtoMs),
      words(targets.rpoMs),
      words(cooldownMs),
      available ? "yes" : namesInClusters().includes(name) ? "in a cluster" : "no",
    ], name);
    for (const parameter of parameters) assert.ok(text.includes(`- \`${parameter.name}\`:`), name);
  }
});

Deno.test("service levels are the same in the handbook, the rules, the dashboard and the runbooks", async () => {
  const { text } = pageOf(await pagesOfHandbook(), "slo.md");
  const rules = await Deno.readTextFile(
    new URL("../ops/deploy/prometheus/slo.yaml", import.meta.url),
  );
  const objectives = tableUnder(text, "Objectives");
  assert.match(objectives[0]![1]!, /^99\.95 % of/);
  assert.match(objectives[1]![1]!, /^99 % of .* within 30 ms$/);
  assert.equal(AVAILABILITY, 0.9995);
  assert.equal(LATENCY_P99_MS, 30);
  const budgets = [
    ...rules.matchAll(/publish_error_ratio:\w+ (?:>|\/) (?:[\d.]+ \* )?([\d.]+)$/gm),
  ];
  assert.equal(budgets.length, 7);
  for (const [line, budget] of budgets) assert.equal(budget, "0.0005", line);
  const alerts = [...rules.matchAll(/- alert: (\w+)/g)].map(([, name]) => `\`${name}\``);
  const told = tableUnder(text, "Alerts on the budget").map(([name]) => name!);
  assert.deepEqual(told.sort(), alerts.sort());
  const targets = text.split("\n").flatMap((line) => {
    const [, name, rto, rpo] =
      /^\| \[([\w-]+)\]\(runbooks\/.*?\| (\S+ \w+) +\| (\S+(?: \w+)?) +\|$/.exec(line) ?? [];
    return name === undefined ? [] : [[name, rto, rpo]];
  });
  const words = (ms: number) =>
    ms === 0 ? "0" : ms >= 60_000 ? `${ms / 60_000} min` : `${ms / 1_000} s`;
  const promised = (await runbookDefinitions()).flatMap(({ name, targets: { rtoMs, rpoMs } }) =>
    rtoMs === null || rpoMs === null ? [] : [[name, words(rtoMs), words(rpoMs)]]
  );
  assert.deepEqual(targets.sort(), promised.sort());
});

Deno.test("every waybill command in the handbook is one that there is, with options that it takes", async () => {
  const faults: string[] = [];
  let commands = 0;
  for (const page of await pagesOfHandbook()) {
    for (const line of commandLines(page)) {
      commands++;
      const fault = commandFault(line);
      if (fault !== null) faults.push(`${page.path}: ${line}: ${fault}`);
    }
  }
  assert.deepEqual(faults, []);
  assert.ok(commands > 100, `only ${commands} were found`);
});

Deno.test("a command that there is not, or an option that it does not take, is found", () => {
  assert.match(commandFault("deno task waybill groups laag billing")!, /no command groups laag/);
  assert.match(commandFault("deno task waybill groups lag billing --all")!, /no option --all/);
  assert.match(commandFault("deno task waybill offsets reset")!, /group/i);
  assert.match(commandFault("deno task nothing")!, /no task/);
  assert.match(commandFault("deno task drill nothing")!, /no drill/);
  assert.equal(commandFault(`deno task waybill groups pause billing --reason "two words"`), null);
});

Deno.test("every route in the handbook is in the OpenAPI document", async () => {
  const api = await measuredApi({
    routes: (measuring) => [
      createOverview(measuring.sampler).routes,
      metricsRoutes("1", undefined, measuring),
      partitionMetricsRoutes(measuring.lags),
    ],
  });
  const { paths } = await (await api.app.request("/openapi.json")).json() as {
    paths: Record<string, Record<string, unknown>>;
  };
  await api.close();
  const matches = (template: string, path: string) =>
    new RegExp(`^${template.replaceAll(".", "\\.").replace(/\{[^}]+\}/g, "[^/:]+")}$`).test(path);
  let routes = 0;
  for (const page of await pagesOfHandbook()) {
    for (const { method, path } of routesNamed(page)) {
      routes++;
      const found = Object.entries(paths).some(([template, methods]) =>
        matches(template, path) && (method === null || Object.hasOwn(methods, method))
      );
      assert.ok(found, `${page.path}: ${method ?? ""} ${path}`);
    }
  }
  assert.ok(routes > 20, `only ${routes} were found`);
});

Deno.test("links between pages of the handbook, and within them, lead somewhere", async () => {
  const pages = await pagesOfHandbook();
  for (const page of pages) {
    for (const link of linksOf(page)) {
      if (/^https?:/.test(link)) continue;
      const target = new URL(link, new URL(page.path, HANDBOOK));
      const anchor = decodeURIComponent(target.hash.slice(1));
      target.hash = "";
      const text = await Deno.readTextFile(target).catch(() => null);
      assert.ok(text !== null, `${page.path}: ${link}`);
      if (anchor !== "") assert.ok(anchorsOf(text).includes(anchor), `${page.path}: ${link}`);
    }
  }
});

Deno.test("files that the handbook names are there", async () => {
  for (const { path, text } of await pagesOfHandbook()) {
    for (const [, file] of text.matchAll(/`((?:ops|api|tests)\/[\w./-]+\.\w+)`/g)) {
      const found = await Deno.stat(new URL(`../${file}`, import.meta.url)).catch(() => null);
      assert.ok(found !== null, `${path}: ${file}`);
    }
  }
});

Deno.test("the drills page has every drill", async () => {
  const { text } = pageOf(await pagesOfHandbook(), "drills.md");
  const shown = tableUnder(text, "What each proves").map(([name]) => name);
  assert.deepEqual(shown, DRILLS.map(({ name }) => `\`${name}\``));
  const ofClusters = tableUnder(text, "Drills of a cluster").map(([name]) => name);
  assert.deepEqual(ofClusters, CLUSTER_DRILLS.map(({ name }) => `\`${name}\``));
});
