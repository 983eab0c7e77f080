// Owns how reports look: Markdown of one, a table of several, and where they are written.
// Refuses to own what they say (run_drill.ts). Invariant: all forms show the same figures.
import Table from "cli-table3";
import type { AlertSeen, DrillReport } from "./types.ts";

/** As people read it. */
export function asMarkdown(report: DrillReport): string {
  const { messages, recovery, machine } = report;
  const verdict = report.passed ? "passed" : "failed";
  return [
    `# ${report.title}: ${verdict}`,
    "",
    `\`${report.command}\`, ${report.startedAt}, ${
      seconds(report.durationMs)
    }, ${machine.cores} cores, ` +
    `${machine.os}, Deno ${machine.deno}, Waybill ${machine.version}.`,
    "",
    `- Injected: ${report.injects}.`,
    `- Repair: ${report.repair}${
      report.repairs === "on" ? "." : `. Switched off: ${report.control}.`
    }`,
    ...report.failures.map((failure) => `- **Failed:** ${failure}.`),
    "",
    "| figure | measured | target |",
    "|---|---|---|",
    `| messages acknowledged | ${count(messages.acknowledged)} | |`,
    `| lost | ${count(messages.lost)} | 0 |`,
    `| not handled | ${count(messages.unhandled)} | 0 |`,
    `| duplicated | ${count(messages.duplicated)} | 0 |`,
    `| handed to consumers again | ${count(messages.redelivered)} | |`,
    `| RTO | ${time(recovery.rtoMs)} | ${seconds(recovery.rtoTargetMs)} |`,
    `| RPO | ${seconds(recovery.rpoMs)}, ${count(recovery.rpoMessages)} messages | ${
      seconds(recovery.rpoTargetMs)
    }, 0 messages |`,
    ...Object.entries(report.measured).map(([name, value]) => `| ${name} | ${count(value)} | |`),
    "",
    "## Checks",
    "",
    ...report.checks.map(({ what, isMet, found }) =>
      `- [${isMet ? "x" : " "}] ${what}: ${cell(found)}`
    ),
    "",
    "## Alerts and runbooks",
    "",
    ...loopLines(report),
    "",
    "## Timeline",
    "",
    "| s | what | |",
    "|---|---|---|",
    ...report.timeline.map(({ atMs, kind, text }) =>
      `| ${(atMs / 1000).toFixed(2)} | ${kind} | ${cell(text)} |`
    ),
    "",
  ].join("\n");
}

function loopLines(report: DrillReport): string[] {
  const { alerts, executions } = report;
  const lines = alerts.map((alert) => {
    return `- Alert ${alert.name} (${alert.severity}) of ${alert.resource}: ${
      lifeOf(alert, report)
    }.`;
  });
  lines.push(...executions.map((execution) => {
    const rto = execution.rtoMs === null ? "" : `, RTO ${seconds(execution.rtoMs)}`;
    const rpo = execution.rpo === null
      ? ""
      : `, RPO ${seconds(execution.rpo.ms)} and ${execution.rpo.messages} messages`;
    return `- Runbook ${execution.name} for ${execution.target}, started by ${execution.by}: ` +
      `${execution.outcome ?? execution.state}${rto}${rpo}.`;
  }));
  return lines.length === 0 ? ["None."] : lines;
}

/** What became of an alert. When it fired is known against what the broker had measured, and mostly against the fault. */
function lifeOf(alert: AlertSeen, { alerts, timeline }: DrillReport): string {
  const { name, severity, resource, state, since, firedAt, resolvedAt } = alert;
  if (firedAt === null) return state === "pending" ? "pending, it has not fired" : "never fired";
  const text = `${severity} ${name} of ${resource} fires`;
  const isOne = alerts.filter((one) => one.name === name && one.resource === resource).length === 1;
  const firesAt = timeline.findIndex((entry) =>
    entry.kind === "alert" && entry.text.startsWith(text)
  );
  const fault = timeline.slice(0, Math.max(0, firesAt)).findLast(({ kind }) => kind === "fault");
  const ofFault = isOne && fault !== undefined
    ? `${seconds(timeline[firesAt]!.atMs - fault.atMs)} after the fault, `
    : "";
  const resolved = resolvedAt === null
    ? "not resolved"
    : `resolved ${seconds(resolvedAt - firedAt)} later`;
  return `fired ${ofFault}${
    seconds(firedAt - since)
  } after its limit was seen exceeded, ${resolved}`;
}

/** One line a drill, for terminals. */
export function asTable(reports: readonly DrillReport[], colour: boolean): string {
  const table = new Table({
    head: ["drill", "", "acknowledged", "lost", "not handled", "twice", "RTO", "RPO", "took"],
    colAligns: ["left", "left", "right", "right", "right", "right", "right", "right", "right"],
    style: { head: [], border: colour ? ["grey"] : [], compact: true },
  });
  for (const { drill, passed, messages, recovery, durationMs } of reports) {
    const verdict = passed ? "passed" : "FAILED";
    table.push([
      drill,
      colour ? `\x1b[${passed ? 32 : 31}m${verdict}\x1b[0m` : verdict,
      count(messages.acknowledged),
      count(messages.lost),
      count(messages.unhandled),
      count(messages.duplicated),
      time(recovery.rtoMs),
      seconds(recovery.rpoMs),
      seconds(durationMs),
    ]);
  }
  return table.toString();
}

/** The same as Markdown, with links to the reports. */
export function asIndex(reports: readonly DrillReport[]): string {
  const passed = reports.filter((report) => report.passed).length;
  const rows = reports.map(({ drill, title, passed, messages, recovery, durationMs, repairs }) =>
    `| [${title}](${reportName(drill, repairs)}.md) | ${passed ? "passed" : "failed"} | ` +
    `${count(messages.acknowledged)} | ${messages.lost} | ` +
    `${messages.unhandled} | ${messages.duplicated} | ` +
    `${time(recovery.rtoMs)} | ${seconds(recovery.rpoMs)} | ${seconds(durationMs)} |`
  );
  return [
    `# Drills: ${passed} of ${reports.length} passed`,
    "",
    "| drill | | acknowledged | lost | not handled | duplicated | RTO | RPO | took |",
    "|---|---|---|---|---|---|---|---|---|",
    ...rows,
    "",
  ].join("\n");
}

function reportName(drill: string, repairs: "on" | "off"): string {
  return repairs === "on" ? drill : `${drill}.repairs-off`;
}

/** Writes the report as JSON and Markdown; gives back the path of the latter. */
export async function writeReport(directory: string, report: DrillReport): Promise<string> {
  await Deno.mkdir(directory, { recursive: true });
  const path = `${directory}/${reportName(report.drill, report.repairs)}`;
  await Deno.writeTextFile(`${path}.json`, JSON.stringify(report, null, 2) + "\n");
  await Deno.writeTextFile(`${path}.md`, asMarkdown(report));
  return `${path}.md`;
}

/** Writes the table of all; gives back its path. */
export async function writeIndex(
  directory: string,
  reports: readonly DrillReport[],
): Promise<string> {
  await Deno.mkdir(directory, { recursive: true });
  const path = `${directory}/${reportName("index", reports[0]?.repairs ?? "on")}.md`;
  await Deno.writeTextFile(path, asIndex(reports));
  return path;
}

function time(ms: number | null): string {
  return ms === null ? "never" : seconds(ms);
}

function seconds(ms: number): string {
  return ms === 0 ? "0 s" : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

function count(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: 2 });
}

/** In one cell, on one line. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll(/\s*\n\s*/g, " ");
}
