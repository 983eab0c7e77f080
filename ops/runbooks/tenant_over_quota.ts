// Owns the runbook for a tenant that is refused for its quota again and again: grants it more, where somebody agrees.
// Refuses to own holding tenants to their quotas (api/quota/): until somebody agrees, the others are protected by that.
// Invariant: only limits that the tenant is at are raised, to figures that are noted before, so that doing it twice and
// undoing it come to the same; never while the broker itself has problems.
import { QUOTA_NAMES, type QuotaLimits, type QuotaName } from "../../actors/quota/types.ts";
import type { Sample } from "../../actors/measurement/types.ts";
import type { Runbook, StepContext } from "../../actors/runbook/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { again, done, MINUTE_MS, runbook, type RunbookPorts, type Step } from "./definition.ts";

/** A tenant that uses this share of a limit is at it: what is refused does not count as used. */
const AT_LIMIT_SHARE = 0.7;
const DEFAULT_FACTOR = 2;
/** Refused nothing for so long: served. */
const QUIET_SECONDS = 10;
/** What is looked back. */
const LOOK_SECONDS = 60;

export function tenantOverQuota(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "tenant-over-quota",
      title: "Tenant over quota",
      describes:
        "A tenant is refused for its quota again and again: says which limits it is at, raises those, and sees " +
        "that it is served and the broker bears it.",
      targetKinds: ["tenant"],
    },
    [findStep(ports), raiseStep(ports), servedStep(ports)],
    {
      parameters: [{
        name: "factor",
        describes:
          `How many times its limits the tenant gets, above 1 and at most 100. Left out: ${DEFAULT_FACTOR}.`,
        required: false,
      }],
      check: factorOf,
    },
  );
}

function findStep(ports: RunbookPorts): Step {
  const { broker, samples, quotaUsage } = ports;
  return {
    name: "find",
    title: "See which limits the tenant is at",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      run(context) {
        const { target: { name: tenant } } = context;
        const factor = factorOf(context);
        const limits = onlyLimits(broker.quotas.limitsOf(tenant));
        const set = QUOTA_NAMES.filter((name) => limits[name] !== null);
        if (set.length === 0) {
          return Promise.resolve({ outcome: "nothing", detail: `tenant ${tenant} has no limits` });
        }
        const used: Readonly<Record<string, number>> = { ...quotaUsage(tenant) };
        const isAt = (name: QuotaName) => (used[name] ?? 0) >= limits[name]! * AT_LIMIT_SHARE;
        const at = set.filter(isAt);
        const own = broker.quotas.find(tenant);
        const whose = own === null ? "the default quota" : "its own quota";
        const refused = refusedOf(samples.history(), tenant);
        const told = `tenant ${tenant} is held to ${whose}, ${refused} requests refused within ` +
          `${LOOK_SECONDS} s: ${set.map((name) => limitWords(name, limits, used)).join(", ")}`;
        if (at.length === 0) {
          const detail = `${told}; it is at none of them just now: bursts, talk to it`;
          return Promise.resolve({ outcome: "manual", detail });
        }
        const { problems } = broker.health();
        if (problems.length > 0) {
          const detail = `${told}; nothing is raised while the broker has problems: ${problems[0]}`;
          return Promise.resolve({ outcome: "manual", detail });
        }
        const raised = Object.fromEntries(
          at.map((name) => [name, Math.max(1, Math.ceil(limits[name]! * factor))]),
        );
        const before = own === null ? null : limits;
        const facts = { raised, before, wanted: { ...limits, ...raised } };
        return Promise.resolve(done(told, { facts }));
      },
    },
  };
}

/** What holds may be a quota as it is kept, with more than its limits. */
function onlyLimits(limits: QuotaLimits): QuotaLimits {
  const only = QUOTA_NAMES.map((name) => [name, limits[name]]);
  return Object.fromEntries(only) as unknown as QuotaLimits;
}

function limitWords(
  name: QuotaName,
  limits: QuotaLimits,
  used: Readonly<Record<string, number>>,
): string {
  const use = used[name];
  return use === undefined
    ? `${name} ${limits[name]}`
    : `${name} ${Math.round(use)} of ${limits[name]}`;
}

function factorOf({ parameters: { factor } }: Pick<StepContext, "parameters">): number {
  if (factor === undefined) return DEFAULT_FACTOR;
  const times = Number(factor);
  if (times > 1 && times <= 100) return times;
  throw new BrokerError("INVALID_REQUEST", `factor is not above 1 and at most 100: ${factor}`);
}

function refusedOf(samples: readonly Sample[], tenant: string): number {
  let seconds = 0;
  let refused = 0;
  for (const sample of samples.toReversed()) {
    if (seconds >= LOOK_SECONDS) break;
    seconds += sample.seconds;
    refused += sample.quotaBreaches[tenant] ?? 0;
  }
  return refused;
}

function raiseStep({ broker: { quotas } }: RunbookPorts): Step {
  const words = (raised: unknown) =>
    Object.entries(raised as Record<string, number>).map(([name, limit]) => `${name} ${limit}`)
      .join(", ");
  return {
    name: "raise",
    title: "Raise the limits that it is at",
    kind: "action",
    timeoutMs: MINUTE_MS,
    undo: "gives the tenant the quota that it had",
    work: {
      async run({ target: { name: tenant }, facts, principal: updatedBy }) {
        const limits = facts.wanted as QuotaLimits;
        await quotas.put({ tenant, limits, updatedBy });
        return done(`tenant ${tenant} has ${words(facts.raised)}`);
      },
      plan: ({ facts }) => Promise.resolve(`would raise ${words(facts.raised)}`),
      async undo({ target: { name: tenant }, facts, principal: updatedBy }) {
        const before = facts.before as QuotaLimits | null;
        if (before !== null) {
          await quotas.put({ tenant, limits: before, updatedBy });
          return "its quota is as before";
        }
        if (quotas.find(tenant) !== null) await quotas.delete(tenant);
        return "the default quota holds for it, as before";
      },
    },
  };
}

/** Verified when nothing of the tenant's was refused for a while, nor failed anybody's publish. */
function servedStep({ samples }: RunbookPorts): Step {
  return {
    name: "served",
    title: "See that the tenant is served, and the broker bears it",
    kind: "verify",
    timeoutMs: 5 * MINUTE_MS,
    work: {
      run({ target: { name: tenant }, stepStartedAt }) {
        let quiet = 0;
        for (const sample of samples.history().toReversed()) {
          if (quiet >= QUIET_SECONDS || sample.at < stepStartedAt) break;
          const refused = sample.quotaBreaches[tenant] ?? 0;
          if (refused > 0) {
            return Promise.resolve(again(`${refused} requests refused a moment ago`));
          }
          if (sample.publishFailures > 0 || sample.problems.length > 0) {
            return Promise.resolve(again("the broker has failed publishes, or has problems"));
          }
          quiet += sample.seconds;
        }
        const told = `nothing refused for ${Math.round(quiet)} s`;
        return Promise.resolve(quiet >= QUIET_SECONDS ? done(told) : again(told));
      },
    },
  };
}
