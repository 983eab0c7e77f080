// Owns the drill of a tenant that publishes as fast as it can, and goes on with more than its quota.
// Refuses to own holding it back (the quota does) and what it is granted (the runbook).
// Invariant: the other tenant's messages are measured from outside, from being handed in to their acknowledgement.
import { alertsResolved, runbookVerified } from "../checks.ts";
import { Flood, refusalWords } from "../flood.ts";
import { Load } from "../load.ts";
import { quantile, reckon, withFlood } from "../reckoning.ts";
import type { Scene } from "../scene.ts";
import type { Check, Drill, Findings } from "../types.ts";

const ADMIN_TOKEN = "drill-administrator";
const RUNBOOK = "tenant-over-quota";
const QUIET_PER_SECOND = 100;
const QUOTA_PER_SECOND = 1_000;
const FLOOD_MS = 5_000;
/** Afterwards: above its quota, below what the runbook makes of it. */
const NEED_PER_SECOND = 1_500;
const AT_ONCE = 16;
const PER_REQUEST = 50;
const BREACH_LIMIT = 10;
const SERVED_MS = 2_000;
const MAX_QUIET_P99_MS = 300;
const REPAIR_LIMIT_MS = 40_000;

export const noisyTenant: Drill = {
  name: "noisy-tenant",
  title: "Noisy tenant",
  injects:
    `a tenant with a quota of ${QUOTA_PER_SECOND} messages/s publishes as fast as it can for ` +
    `${FLOOD_MS / 1_000} s, then ${NEED_PER_SECOND}/s`,
  repair:
    "its quota protects the others at once; alert quota-breaches starts runbook tenant-over-quota, " +
    "which doubles the quota that it is at and sees that the broker bears it",
  control: "alerts start no runbook: what the tenant needs is refused for ever",
  targets: { rtoMs: 60_000, rpoMs: 0 },
  run,
};

async function run(scene: Scene): Promise<Findings> {
  await scene.startBroker({ adminToken: ADMIN_TOKEN });
  const client = scene.client();
  const [quietToken, noisyToken] = await tenants(scene);
  await scene.setThreshold("quota-breaches", {
    limit: BREACH_LIMIT,
    windowSeconds: 2,
    // What a tenant uses is measured over ten seconds: a burst alone shall not raise its quota.
    forSeconds: 9,
    severity: "P3",
    runbook: RUNBOOK,
  });
  const quiet = scene.client(quietToken);
  const load = new Load(quiet, { topic: "quiet", perSecond: QUIET_PER_SECOND, keys: 8 });
  scene.onClose(() => load.stop(0));
  const aloneMs = performance.now();
  load.start();
  await scene.until(() => load.acknowledged.size > 2 * QUIET_PER_SECOND, "two quiet seconds");

  const noisy = noisyClients(scene, noisyToken);
  const sinceMs = await scene.inject(
    "tenant noisy publishes as fast as it can",
    () => noisy.start(),
  );
  await scene.pause(FLOOD_MS);
  const passed = noisy.acknowledgedMessages;
  const floodedMs = performance.now();
  noisy.perSecond = NEED_PER_SECOND / PER_REQUEST;
  scene.tell("step", `it needs ${NEED_PER_SECOND}/s from now on; ${passed} messages passed`);
  const rtoMs = await scene.recovered(
    () =>
      performance.now() - Math.max(noisy.lastRefusedMs, floodedMs) > SERVED_MS &&
      noisy.acknowledgedMessages > passed,
    { sinceMs, limitMs: REPAIR_LIMIT_MS, what: "the tenant is refused nothing" },
  );
  if (scene.repairs) {
    await scene.settled(
      () => scene.watch.hasEnded(RUNBOOK),
      "the runbook to end",
      REPAIR_LIMIT_MS,
    );
  }
  const resolved = await alertsResolved(scene, "quota-breaches");
  await Promise.all([noisy.stop(), load.stop()]);
  const alone = quantile(load.latencies(aloneMs, sinceMs), 0.99);
  const beside = quantile(load.latencies(sinceMs, floodedMs), 0.99);
  const { messages: published, checks } = await reckon(client, "quiet", { load });
  const messages = await withFlood(client, published, { flood: noisy, topic: "noisy" });
  return {
    messages,
    rtoMs,
    rpo: { ms: 0, messages: messages.lost },
    checks: [
      ...checks,
      quietCheck(load, { alone, beside }),
      heldCheck(noisy, passed),
      runbookVerified(scene, RUNBOOK),
      resolved,
    ],
    measured: { quietP99AloneMs: alone, quietP99BesideMs: beside, noisyPassed: passed },
  };
}

function quietCheck({ failed }: Load, p99Ms: { alone: number; beside: number }): Check {
  return {
    what:
      `the other tenant's publishes took less than ${MAX_QUIET_P99_MS} ms, and none was refused`,
    isMet: p99Ms.beside <= MAX_QUIET_P99_MS && failed === 0,
    found: `p99 ${p99Ms.beside} ms beside it, ${p99Ms.alone} ms alone; ${failed} refused`,
  };
}

/** The burst of a second beside its quota, and requests that may be larger than what is left. */
function heldCheck(noisy: Flood, passed: number): Check {
  return {
    what: "the noisy tenant was held to its quota",
    isMet: passed <= QUOTA_PER_SECOND * (FLOOD_MS / 1_000 + 1) + AT_ONCE * PER_REQUEST,
    found: `${passed} messages within ${FLOOD_MS / 1_000} s; refused: ${refusalWords(noisy)}`,
  };
}

function noisyClients(scene: Scene, token: string): Flood {
  return new Flood({
    url: scene.stage.url!,
    topic: "noisy",
    atOnce: AT_ONCE,
    perRequest: PER_REQUEST,
    messageBytes: 200,
    waitingAfterMs: 1_000,
    // They mind no Retry-After.
    refusedPauseMs: 50,
    token,
    signal: scene.signal,
  });
}

/** Two tenants with a topic each; gives back their keys. */
async function tenants(scene: Scene): Promise<[quiet: string, noisy: string]> {
  const api = scene.api();
  const keys: string[] = [];
  for (const name of ["quiet", "noisy"]) {
    await api.post("/api/topics", { name });
    const { key } = await api.post("/api/keys", { principal: name, tenant: name });
    keys.push(key);
    for (const operation of ["write", "describe"]) {
      const resource = { resource: "topic", pattern: name, patternType: "literal" };
      await api.post("/api/acls", { principal: name, ...resource, operation, effect: "allow" });
    }
  }
  const body = { publishMessagesPerSecond: QUOTA_PER_SECOND };
  await api.json("PUT", "/api/quotas/noisy", { body });
  scene.tell("step", `tenants quiet and noisy; noisy may publish ${QUOTA_PER_SECOND} messages/s`);
  return [keys[0]!, keys[1]!];
}
