// Owns proof that a drill's verdict, timeline, report and command line say what was measured, and can say that it failed.
// Refuses to own running drills (e2e_drill_test.ts).
import assert from "node:assert/strict";
import { lineConsole } from "../ops/drills/console.ts";
import { DRILLS } from "../ops/drills/catalogue.ts";
import { parseOptions } from "../ops/drills/options.ts";
import { asIndex, asMarkdown, asTable, writeReport } from "../ops/drills/report.ts";
import { Timeline } from "../ops/drills/timeline.ts";
import type { DrillReport, Findings } from "../ops/drills/types.ts";
import { failuresOf, NOTHING_FOUND } from "../ops/drills/verdict.ts";

const TARGETS = { rtoMs: 1_000, rpoMs: 100 };
const GOOD: Findings = {
  messages: { acknowledged: 10, lost: 0, unhandled: 0, duplicated: 0, redelivered: 3 },
  rtoMs: 1_000,
  rpo: { ms: 100, messages: 0 },
  checks: [{ what: "it holds", isMet: true, found: "so it does" }],
  measured: { kills: 1 },
};

const REPORT: DrillReport = {
  drill: "broker-crash",
  command: "deno task drill broker-crash",
  title: "Broker crash",
  injects: "signal 9",
  repair: "a supervisor",
  control: "no supervisor",
  repairs: "on",
  startedAt: "2026-01-02T03:04:05.000Z",
  durationMs: 12_345,
  passed: true,
  failures: [],
  messages: GOOD.messages,
  recovery: { rtoMs: 999, rtoTargetMs: 1_000, rpoMs: 0, rpoMessages: 0, rpoTargetMs: 0 },
  checks: GOOD.checks,
  measured: GOOD.measured,
  alerts: [{
    alertId: "a",
    name: "consumer-lag",
    severity: "P1",
    state: "resolved",
    resource: "group billing",
    limit: 5,
    worst: 7,
    since: 1_000,
    firedAt: 2_500,
    resolvedAt: 4_000,
    executionId: "e",
  }],
  executions: [{
    executionId: "e",
    name: "mistaken-commit",
    target: "group billing",
    mode: "auto",
    state: "verified",
    by: "system:alerts",
    startedAt: 2_500,
    endedAt: 3_000,
    rtoMs: 2_000,
    rpo: { ms: 0, messages: 0 },
    outcome: "verified",
    steps: [{ name: "find", state: "done", detail: "found" }],
  }],
  timeline: [
    { atMs: 1_500, kind: "fault", text: "signal 9 | to\nit" },
    { atMs: 3_500, kind: "alert", text: "P1 consumer-lag of group billing fires: 7 above 5" },
  ],
  machine: { cores: 2, os: "linux 6", deno: "2", version: "0" },
};

Deno.test("drill passes at its targets, and fails one beyond them", () => {
  assert.deepEqual(failuresOf(GOOD, TARGETS), []);
  assert.match(failuresOf({ ...GOOD, rtoMs: 1_001 }, TARGETS).join(), /after 1001 ms/);
  assert.match(failuresOf({ ...GOOD, rpo: { ms: 101, messages: 0 } }, TARGETS).join(), /101 ms/);
});

Deno.test("drill fails for each lost, doubled or unrecoverable message, and for an unmet check", () => {
  const { messages } = GOOD;
  const failures = (change: Partial<Findings>) => failuresOf({ ...GOOD, ...change }, TARGETS);
  assert.equal(failures({ messages: { ...messages, lost: 1 } }).length, 1);
  assert.equal(failures({ messages: { ...messages, duplicated: 1 } }).length, 1);
  assert.deepEqual(failures({ messages: { ...messages, unhandled: 2 } }), [
    "2 acknowledged messages were not handled by the group",
  ]);
  assert.equal(failures({ rpo: { ms: 0, messages: 1 } }).length, 1);
  assert.deepEqual(
    failures({ checks: [{ what: "it holds", isMet: false, found: "1 of 2" }] }),
    ["it holds: 1 of 2"],
  );
});

Deno.test("drill that acknowledged nothing or never recovered fails, and so does a figure that is none", () => {
  assert.equal(failuresOf(NOTHING_FOUND, TARGETS).length, 2);
  assert.equal(failuresOf({ ...GOOD, rtoMs: null }, TARGETS).length, 1);
  const messages = { ...GOOD.messages, lost: NaN };
  assert.equal(failuresOf({ ...GOOD, messages }, TARGETS).length, 1);
});

Deno.test("timeline tells times since it began, in order, and says how many entries it left out", () => {
  let now = 5_000;
  const heard: string[] = [];
  const timeline = new Timeline(() => now, ({ text }) => heard.push(text));
  now += 250;
  assert.equal(timeline.add("fault", "first"), 250);
  for (let more = 0; more < 1_001; more++) timeline.add("step", "more");
  const entries = timeline.entries();
  assert.deepEqual(entries[0], { atMs: 250, kind: "fault", text: "first" });
  assert.equal(heard.length, 1_000);
  assert.equal(entries.at(-1)!.text, "2 more entries were left out");
});

Deno.test("report shows figures beside targets, alert and runbook with their times, and keeps cells whole", () => {
  const text = asMarkdown(REPORT);
  assert.match(text, /^# Broker crash: passed\n/);
  assert.match(text, /\| lost \| 0 \| 0 \|/);
  assert.match(text, /\| RTO \| 1\.00 s \| 1\.00 s \|/);
  assert.match(text, /\| not handled \| 0 \| 0 \|/);
  assert.match(
    text,
    /Alert consumer-lag \(P1\) of group billing: fired 2\.00 s after the fault, 1\.50 s after its limit was seen exceeded, resolved 1\.50 s later/,
  );
  const [alert] = REPORT.alerts;
  const alerts = [{ ...alert!, state: "pending", firedAt: null, resolvedAt: null }];
  assert.match(
    asMarkdown({ ...REPORT, alerts }),
    /of group billing: pending, it has not fired\.\n/,
  );
  const twice = asMarkdown({ ...REPORT, alerts: [alert!, alert!] });
  assert.doesNotMatch(twice, /after the fault/, "nobody knows which of them it was");
  assert.match(
    text,
    /Runbook mistaken-commit for group billing, started by system:alerts: verified, RTO 2\.00 s/,
  );
  assert.match(text, /\| 1\.50 \| fault \| signal 9 \\\| to it \|/);
  assert.match(text, /- \[x\] it holds: so it does/);
});

Deno.test("report of a failed control says why, and what was switched off", () => {
  const failed = {
    ...REPORT,
    passed: false,
    failures: ["it did not recover"],
    repairs: "off",
    recovery: { ...REPORT.recovery, rtoMs: null },
    alerts: [],
    executions: [],
  } as const;
  const text = asMarkdown(failed);
  assert.match(text, /: failed\n/);
  assert.match(text, /Switched off: no supervisor\./);
  assert.match(text, /\*\*Failed:\*\* it did not recover\./);
  assert.match(text, /\| RTO \| never \|/);
  assert.match(text, /\nNone\.\n/);
  assert.match(asTable([REPORT, failed], false), /passed[\s\S]*FAILED/);
  assert.match(asIndex([REPORT, failed]), /# Drills: 1 of 2 passed/);
  assert.match(asIndex([failed]), /broker-crash\.repairs-off\.md/);
});

Deno.test("report is written as JSON that reads back the same, and as Markdown beside it", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = await writeReport(`${directory}/made`, REPORT);
    assert.equal(await Deno.readTextFile(path), asMarkdown(REPORT));
    const json = await Deno.readTextFile(`${directory}/made/broker-crash.json`);
    assert.deepEqual(JSON.parse(json), REPORT);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("console colours only when it is told to", () => {
  for (const colour of [false, true]) {
    const lines: string[] = [];
    const console = lineConsole((line) => lines.push(line), colour);
    console.begin("Broker crash", "1 of 1");
    console.entry(REPORT.timeline[0]!);
    console.end({ ...REPORT, passed: false, failures: ["why"] }, "path");
    assert.equal(lines.some((line) => line.includes("\x1b")), colour);
    assert.ok(lines.some((line) => line.includes("why")));
  }
});

Deno.test("drill command takes a name, several, or all, and refuses what it does not know", () => {
  const named = parseOptions(["broker-crash", "--repairs", "off", "--out", "/x", "--json"]);
  assert.ok(named !== "help");
  assert.deepEqual(named.drills.map(({ name }) => name), ["broker-crash"]);
  assert.deepEqual([named.repairs, named.out, named.json], [false, "/x", true]);
  const all = parseOptions(["all"]);
  assert.ok(all !== "help" && all.drills.length === DRILLS.length && all.repairs);
  assert.throws(() => parseOptions([]), /say which drill/);
  assert.throws(
    () => parseOptions(["no-such"]),
    /there is no drill no-such; there are broker-crash/,
  );
  assert.throws(() => parseOptions(["all", "--repairs", "maybe"]), /must be on or off/);
});

Deno.test("every drill says what it injects, what repairs it and what its control switches off", () => {
  assert.equal(new Set(DRILLS.map(({ name }) => name)).size, DRILLS.length);
  for (const { name, title, injects, repair, control } of DRILLS) {
    assert.match(name, /^[a-z]+(?:-[a-z]+)*$/);
    for (const text of [title, injects, repair, control]) assert.ok(text.length > 5, name);
  }
});
