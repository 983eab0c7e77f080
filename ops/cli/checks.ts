// Owns what `doctor` looks at: each check asks the broker one thing and says how well it is.
// Refuses to own showing them (commands/doctor.ts). Invariant: a check that may not look says so and fails nothing.
import { WaybillError } from "../../api/client.ts";
import type { BrokerApi, Json } from "./broker_api.ts";
import { describe, exitCodeOf } from "./failures.ts";
import { bytes, count, counted, seconds } from "./output.ts";

export type CheckStatus = "ok" | "warn" | "fail" | "skipped";

export interface CheckResult {
  readonly check: string;
  readonly status: CheckStatus;
  readonly detail: string;
}

type Verdict = readonly [CheckStatus, string];

/** Clocks that differ by more make times in offsets and tokens mean different things. */
const SKEW_WARN_MS = 5_000;
const SKEW_FAIL_MS = 60_000;
/** The header tells whole seconds. */
const DATE_RESOLUTION_MS = 1_000;
const DISK_WARN_BYTES = 5 * 2 ** 30;
const DISK_FAIL_BYTES = 512 * 2 ** 20;
const EVENT_LOOP_WARN_SECONDS = 0.25;
/** Named in one line; the rest is counted. */
const MAX_NAMED = 5;

export interface Examined {
  readonly api: BrokerApi;
  readonly now: () => number;
  readonly credential: string;
}

/** Every check in its order. Rejects as the first request does when no broker answers. */
export async function examine(examined: Examined): Promise<CheckResult[]> {
  const { api, now, credential } = examined;
  const startedAt = now();
  const alive = await api.ask("GET", "/livez");
  const tookMs = now() - startedAt;
  const results: CheckResult[] = [
    { check: "reachable", status: "ok", detail: `${api.broker.url} in ${tookMs} ms` },
    { check: "TLS", ...named(tls(api)) },
    { check: "clock", ...named(clock(alive.headers.get("date"), (startedAt + now()) / 2)) },
  ];
  const checks: readonly (readonly [string, () => Promise<Verdict>])[] = [
    ["ready", () => ready(api)],
    ["credential", () => accepted(api, credential)],
    ["partitions", () => partitions(api)],
    ["groups", () => groups(api)],
    ["alerts", () => alerts(api)],
    ["disk", () => disk(api)],
    ["event loop", () => eventLoop(api)],
    ["audit", () => audit(api)],
  ];
  for (const [check, look] of checks) results.push({ check, ...named(await looked(look)) });
  return results;
}

function named([status, detail]: Verdict): { status: CheckStatus; detail: string } {
  return { status, detail };
}

/** A check that is refused is skipped; one that fails otherwise tells how. */
async function looked(look: () => Promise<Verdict>): Promise<Verdict> {
  try {
    return await look();
  } catch (error) {
    if (exitCodeOf(error) === null) throw error;
    const isRefused = error instanceof WaybillError && [401, 403, 404].includes(error.status);
    return isRefused ? ["skipped", "this credential may not look"] : ["fail", describe(error)];
  }
}

function tls({ broker: { url, token } }: BrokerApi): Verdict {
  const { protocol, hostname } = new URL(url);
  if (protocol === "https:") return ["ok", "encrypted, its certificate is trusted"];
  const isLoopback = hostname === "localhost" || hostname === "[::1]" ||
    hostname.startsWith("127.");
  if (isLoopback) return ["ok", "plain HTTP, on this machine alone"];
  return token === null
    ? ["warn", "plain HTTP: others can read along"]
    : ["fail", "plain HTTP: the credential can be read on its way"];
}

function clock(date: string | null, at: number): Verdict {
  const told = Date.parse(date ?? "");
  if (Number.isNaN(told)) return ["skipped", "the broker tells no time"];
  const apart = at - told;
  // What the header left out is no skew.
  const skewMs = apart >= 0 ? Math.max(0, apart - DATE_RESOLUTION_MS) : apart;
  const detail = `this machine and the broker are ${seconds(Math.abs(skewMs) / 1_000)} apart`;
  if (Math.abs(skewMs) > SKEW_FAIL_MS) return ["fail", detail];
  return [Math.abs(skewMs) > SKEW_WARN_MS ? "warn" : "ok", detail];
}

async function ready(api: BrokerApi): Promise<Verdict> {
  const { status, problems } = await api.json("GET", "/readyz", { accept: [503] });
  if (status === "ready" && problems.length === 0) return ["ok", "it serves"];
  return [status === "ready" ? "warn" : "fail", problems.join("; ") || status];
}

async function accepted(api: BrokerApi, credential: string): Promise<Verdict> {
  try {
    await api.get("/api/topics", { limit: 1 });
    return ["ok", credential === "none" ? "none is needed" : `that of ${credential} is accepted`];
  } catch (error) {
    if (!(error instanceof WaybillError)) throw error;
    if (error.status === 403) return ["ok", `that of ${credential} is accepted, with few rights`];
    if (error.status !== 401) throw error;
    return ["fail", credential === "none" ? "one is needed" : `that of ${credential} is refused`];
  }
}

async function partitions(api: BrokerApi): Promise<Verdict> {
  const { offlinePartitions, underReplicatedPartitions } = await api.get("/api/cluster");
  const names = (all: Json[]) => some(all.map((each) => `${each.topic}/${each.partition}`));
  if (offlinePartitions.length > 0) return ["fail", `offline: ${names(offlinePartitions)}`];
  if (underReplicatedPartitions.length > 0) {
    return ["warn", `too few replicas: ${names(underReplicatedPartitions)}`];
  }
  return ["ok", "all are online"];
}

async function groups(api: BrokerApi): Promise<Verdict> {
  const { now } = await api.get("/api/overview");
  if (now === null) return ["skipped", "the broker has measured nothing yet"];
  const stalled = now.groups.filter(({ stalledLag }: Json) => stalledLag > 0);
  const shown = stalled.map((each: Json) => `${each.group} (${count(each.stalledLag)} behind)`);
  if (stalled.length > 0) return ["fail", `stalled: ${some(shown)}`];
  return ["ok", `${counted(now.groups.length, "group")}, total lag ${count(now.point.totalLag)}`];
}

async function alerts(api: BrokerApi): Promise<Verdict> {
  const { alerts: firing } = await api.get("/api/alerts", { state: "firing", limit: 100 });
  if (firing.length === 0) return ["ok", "none is firing"];
  const shown = firing.map((each: Json) =>
    `${each.severity} ${each.name} (${each.resource.type} ${each.resource.name})`
  );
  const isUrgent = firing.some(({ severity }: Json) => severity === "P1");
  return [isUrgent ? "fail" : "warn", some(shown)];
}

async function disk(api: BrokerApi): Promise<Verdict> {
  const figures = figuresIn((await api.ask("GET", "/metrics")).text);
  const free = figures.get("waybill_disk_free_bytes");
  if (free === undefined) return ["skipped", "the broker does not know"];
  const used = figures.get("waybill_storage_bytes");
  const detail = `${bytes(free)} free, ${bytes(used) ?? "?"} of data`;
  if (free < DISK_FAIL_BYTES) return ["fail", detail];
  return [free < DISK_WARN_BYTES ? "warn" : "ok", detail];
}

async function eventLoop(api: BrokerApi): Promise<Verdict> {
  const figures = figuresIn((await api.ask("GET", "/metrics")).text);
  const delay = figures.get("waybill_event_loop_delay_seconds");
  if (delay === undefined) return ["skipped", "the broker does not know"];
  const detail = `${(delay * 1_000).toFixed(1)} ms late`;
  return [delay > EVENT_LOOP_WARN_SECONDS ? "warn" : "ok", detail];
}

/** The newest entry can be read; whether the chain is whole is for `audit verify`, which reads all of it. */
async function audit(api: BrokerApi): Promise<Verdict> {
  const { head, unreadable } = await api.get("/api/audit", { limit: 1 });
  if (unreadable > 0) return ["fail", `${counted(unreadable, "entry", "entries")} cannot be read`];
  return [
    "ok",
    `${counted(head.sequence, "entry", "entries")}; waybill audit verify reads them all`,
  ];
}

/** The figures without labels of Prometheus' text form. */
export function figuresIn(text: string): Map<string, number> {
  const figures = new Map<string, number>();
  for (const line of text.split("\n")) {
    const match = /^([a-z_:][\w:]*) (\S+)/i.exec(line);
    if (match !== null) figures.set(match[1]!, Number(match[2]));
  }
  return figures;
}

function some(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMED).join(", ");
  return names.length > MAX_NAMED ? `${shown} and ${names.length - MAX_NAMED} more` : shown;
}
