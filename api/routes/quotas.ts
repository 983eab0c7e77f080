// Owns the routes of quotas: set one, show what holds for a tenant and what it uses, list them, delete one.
// Refuses to own what is kept of a quota (actors/quota/) and holding anybody to it (../quota/).
// Invariant: what is shown as a limit is what the tenant is held to.
import { z } from "zod";
import {
  DEFAULT_QUOTA,
  NO_LIMITS,
  type Quota,
  QUOTA_NAMES,
  type QuotaLimits,
} from "../../actors/quota/types.ts";
import { label, NAME_PATTERN, timestampMs } from "../fields.ts";
import { byName, nextCursor, pageOf, pageQuery } from "../paging.ts";
import { CLUSTER } from "../auth/authorizer.ts";
import type { QuotaGate } from "../quota/gate.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const TAG = "Security";
const PATH = "/api/quotas";
const TENANT_PATH = `${PATH}/{tenant}`;

const tenant = z.string()
  .refine(
    (name) => name === DEFAULT_QUOTA || NAME_PATTERN.test(name),
    "must be 1 to 249 of A-Z a-z 0-9 . _ -, or * for every tenant without a quota of its own",
  ).meta({ description: `A tenant, or ${DEFAULT_QUOTA}.`, examples: ["default"] });
const tenantParams = z.strictObject({ tenant });

function limit(description: string) {
  return z.int().min(0).max(Number.MAX_SAFE_INTEGER).nullable().default(null)
    .meta({ description: `${description} Null, or left out: no limit.` });
}

const limitFields = {
  publishBytesPerSecond: limit("Bytes of bodies of publishes, as they are sent."),
  publishMessagesPerSecond: limit("Messages published."),
  consumeBytesPerSecond: limit(
    "Bytes delivered: streams and polls are slowed to it, reads that do not wait are refused.",
  ),
  requestsPerSecond: limit(
    "Requests of any kind, the opening of a stream among them, and what is sent on it: a frame for each 16 KiB begun.",
  ),
  connections: limit("Consumers at once: WebSocket streams, and members that poll."),
  topics: limit("Topics made by principals of the tenant."),
  inFlightBytes: limit("Bodies of requests in memory at once; one request alone may have more."),
};

const quotaBody = z.strictObject(limitFields);

const perSecond = z.number().meta({ description: "Over about the last 10 seconds." });
const usageSchema = z.strictObject({
  publishBytesPerSecond: perSecond,
  publishMessagesPerSecond: perSecond,
  consumeBytesPerSecond: perSecond,
  requestsPerSecond: perSecond,
  connections: z.int(),
  topics: z.int(),
  inFlightBytes: z.int(),
  refused: z.int().meta({ description: "Requests refused for a quota since the broker started." }),
}).meta({ id: "QuotaUsage" });

export const quotaSchema = z.strictObject({
  tenant,
  ...limitFields,
  source: z.enum(["tenant", "default", "none"]).meta({
    description: `Where the limits come from: the tenant's own quota, that of ${DEFAULT_QUOTA}, ` +
      "or nowhere.",
  }),
  updatedAt: timestampMs.nullable(),
  updatedBy: label.nullable(),
  usage: usageSchema,
}).meta({ id: "Quota" });

const order = byName((quota: Quota) => quota.tenant);

/** Routes of quotas. */
export function quotaRoutes({ broker: { quotas }, quota, limits }: ApiDependencies): Route[] {
  const holdsFor = (tenant: string) => quotas.find(tenant) ?? quotas.find(DEFAULT_QUOTA);
  return [
    defineRoute({
      method: "GET",
      path: PATH,
      operationId: "listQuotas",
      tag: TAG,
      summary: "List quotas by tenant, with what each tenant uses",
      query: pageQuery(limits),
      responses: {
        200: {
          description: "A page of quotas",
          schema: z.strictObject({ quotas: z.array(quotaSchema), nextCursor }),
        },
      },
      errors: ["FORBIDDEN"],
      handler: ({ query }) => {
        const { entries, ...page } = pageOf(quotas.list(), query, order);
        const topics = quota.topicsByTenant();
        const told = entries.map((one) => shown({ quota, topics }, one.tenant, one));
        return { data: { quotas: told, ...page } };
      },
    }),
    defineRoute({
      method: "GET",
      path: TENANT_PATH,
      operationId: "getQuota",
      tag: TAG,
      summary: "Show what a tenant may ask for, and what it uses",
      params: tenantParams,
      responses: { 200: { description: "What holds for the tenant", schema: quotaSchema } },
      description: "Whoever belongs to the tenant may see it.",
      errors: ["FORBIDDEN"],
      handler: ({ params: { tenant }, access, authorize }) => {
        if (access.tenant !== tenant) {
          authorize({ operation: "admin", resource: "cluster", name: CLUSTER });
        }
        return {
          data: shown({ quota, topics: quota.topicsByTenant() }, tenant, holdsFor(tenant)),
        };
      },
    }),
    defineRoute({
      method: "PUT",
      path: TENANT_PATH,
      operationId: "putQuota",
      tag: TAG,
      summary: "Set the whole quota of a tenant",
      description: "It holds from the answer on, each broker holding the tenant to it. Rates " +
        "have a burst of one second; what is larger than that alone passes when nothing is owed, " +
        "and is owed then. Beyond it a request is answered 429 `QUOTA_EXCEEDED` " +
        "with nothing stored, late: when there is room for it, or after a second or so.",
      params: tenantParams,
      body: quotaBody,
      bodyExample: { publishMessagesPerSecond: 1_000, requestsPerSecond: 100, connections: 10 },
      responses: { 200: { description: "The quota", schema: quotaSchema } },
      errors: ["FORBIDDEN", "LIMIT_REACHED", "METADATA_CONFLICT"],
      handler: async ({ params: { tenant }, body, principal, audited }) => {
        audited({ before: keptLimits(quotas.find(tenant)) });
        const put = await quotas.put({ tenant, limits: body, updatedBy: principal });
        audited({ after: keptLimits(put) });
        const topics = quota.topicsByTenant();
        return { data: shown({ quota, topics }, tenant, put) };
      },
    }),
    defineRoute({
      method: "DELETE",
      path: TENANT_PATH,
      operationId: "deleteQuota",
      tag: TAG,
      summary: "Delete the quota of a tenant",
      description: `The tenant has the quota of ${DEFAULT_QUOTA} from then on, if there is one.`,
      params: tenantParams,
      responses: { 204: { description: "It is gone" } },
      errors: ["FORBIDDEN", "NOT_FOUND", "METADATA_CONFLICT"],
      handler: async ({ params: { tenant }, audited }) => {
        audited({ before: keptLimits(quotas.find(tenant)) });
        await quotas.delete(tenant);
        return { status: 204 };
      },
    }),
  ];
}

function shown(
  { quota, topics }: { quota: QuotaGate; topics: ReadonlyMap<string, number> },
  tenant: string,
  holds: Quota | null,
): z.input<typeof quotaSchema> {
  const source = holds === null ? "none" : holds.tenant === tenant ? "tenant" : "default";
  return {
    tenant,
    ...limitsIn(holds ?? NO_LIMITS),
    source,
    updatedAt: holds?.updatedAt ?? null,
    updatedBy: holds?.updatedBy ?? null,
    usage: { ...roundedUsage(quota.usage(tenant)), topics: topics.get(tenant) ?? 0 },
  };
}

/** Means over seconds: more digits than one would say more than is known. */
function roundedUsage<Usage extends object>(usage: Usage): Usage {
  const rounded = Object.entries(usage).map(([name, value]) => [name, Math.round(value * 10) / 10]);
  return Object.fromEntries(rounded) as Usage;
}

/** What the audit log keeps of a quota. */
function keptLimits(quota: Quota | null): QuotaLimits | null {
  return quota === null ? null : limitsIn(quota);
}

/** A quota that was kept by an older release may not know them all. */
function limitsIn(limits: QuotaLimits): QuotaLimits {
  return Object.fromEntries(
    QUOTA_NAMES.map((name) => [name, limits[name] ?? null]),
  ) as unknown as QuotaLimits;
}
