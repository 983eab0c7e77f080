// Owns the commands on who may do what: API keys, ACLs, quotas of tenants.
// Refuses to own the rules. Invariant: a new key is written to standard output once, and nowhere else.
import { confirm } from "../asking.ts";
import type { Json } from "../broker_api.ts";
import { type CommandGroup, type Context, LIMIT, oneOf, option, word, YES } from "../command.ts";
import { UsageError } from "../failures.ts";
import type { Options } from "../given.ts";
import { durationSeconds, instant, pathOf } from "../grammar.ts";
import { type Cell, count, time } from "../output.ts";
import { camel } from "./topics.ts";

const RESOURCES = ["topic", "group", "cluster"];
const OPERATIONS = ["read", "write", "create", "delete", "alter", "describe", "admin", "all"];

export const keys: CommandGroup = {
  describes: "List, create and revoke API keys",
  commands: {
    list: {
      describes: "List API keys by principal, without the keys themselves",
      options: { ...LIMIT },
      examples: [["", "who has one"]],
      run: async ({ given, api, output }) => {
        const { entries } = await api.list("/api/keys", "keys", {
          limit: given.integer("limit")!,
        });
        await output.result({ keys: entries }, () =>
          output.table(
            ["KEY", "PRINCIPAL", "TENANT", "CREATED", "BY", "EXPIRES"],
            entries.map((key) => [
              key.keyId,
              key.principal,
              key.tenant,
              time(key.createdAt),
              key.createdBy,
              key.expired ? "expired" : time(key.expiresAt) ?? "never",
            ]),
            "there are no keys",
          ));
      },
    },
    create: {
      describes: "Create an API key; it is shown this once",
      options: {
        principal: word("Who it is for"),
        tenant: option("tenant", "Tenant that it belongs to"),
        expires: option("time", "When it ends: RFC 3339, ms, or after so long (30d)"),
      },
      examples: [
        ["billing", "one that does not end"],
        ["billing --tenant shop --expires 30d --json", "for a script"],
      ],
      run: createKey,
    },
    delete: {
      describes: "Revoke an API key",
      options: { key: word("Id of the key, not the key itself"), ...YES },
      examples: [["k-1 --yes", "at once, on open connections too"]],
      run: async (context) => {
        const key = context.given.need("key");
        confirm(context, `revoke key ${key}`);
        await context.api.delete(pathOf`/api/keys/${key}`);
        await context.output.result({ deleted: key }, () => `key ${key} is revoked`);
      },
    },
  },
};

async function createKey({ given, api, output, terminal }: Context): Promise<void> {
  const [tenant, expires] = [given.text("tenant"), given.text("expires")];
  const now = terminal.now();
  const isDuration = expires !== undefined && /^\d+[smhd]$/.test(expires);
  const expiresAt = expires === undefined
    ? undefined
    : isDuration
    ? now + durationSeconds(expires) * 1_000
    : instant(expires, now);
  const body = { principal: given.need("principal"), tenant, expiresAt };
  const made = await api.post("/api/keys", body);
  output.remark(`key ${made.keyId} of ${made.principal}: keep it, it is not shown again`);
  await output.result(made, () => made.key);
}

const ACL_FILTER: Options = {
  principal: option("principal", "Who"),
  tenant: option("tenant", "Of which tenant"),
  resource: oneOf(RESOURCES, "On what"),
  pattern: option("name", "Name, or start of it; default * (all)"),
  "pattern-type": oneOf(["literal", "prefix"], "What the pattern is"),
  operation: oneOf(OPERATIONS, "What"),
  effect: oneOf(["allow", "deny"], "Default allow"),
};

export const acls: CommandGroup = {
  describes: "List, create and delete rights",
  commands: {
    list: {
      describes: "List ACLs",
      options: { ...ACL_FILTER, ...LIMIT },
      examples: [["--principal billing", "what one may do"]],
      run: async ({ given, api, output }) => {
        const query = Object.fromEntries(
          Object.keys(ACL_FILTER).map((name) => [camel(name), given.text(name)]),
        );
        const limit = given.integer("limit")!;
        const { entries } = await api.list("/api/acls", "acls", { limit, query });
        await output.result({ acls: entries }, () =>
          output.table(
            ["ACL", "PRINCIPAL", "TENANT", "EFFECT", "OPERATION", "RESOURCE", "PATTERN", "TYPE"],
            entries.map((acl) => [
              acl.aclId,
              acl.principal,
              acl.tenant,
              acl.effect,
              acl.operation,
              acl.resource,
              acl.pattern,
              acl.patternType,
            ]),
            "there are no ACLs",
          ));
      },
    },
    create: {
      describes: "Allow or deny a principal an operation",
      options: ACL_FILTER,
      examples: [
        [
          "--principal billing --resource topic --pattern orders --operation read",
          "may read one topic",
        ],
        [
          "--principal shop --resource topic --pattern shop. --pattern-type prefix --operation all",
          "may do all with the topics whose names start so",
        ],
      ],
      run: async ({ given, api, output }) => {
        for (const name of ["principal", "resource", "operation"]) given.need(name);
        const body = Object.fromEntries(
          Object.keys(ACL_FILTER).map((name) => [camel(name), given.text(name)]),
        );
        const acl = await api.post("/api/acls", body);
        await output.result(acl, () => output.fields(Object.entries(acl) as [string, Cell][]));
      },
    },
    delete: {
      describes: "Delete an ACL",
      options: { acl: word("Id of the ACL"), ...YES },
      examples: [["a-1 --yes", "without asking"]],
      run: async (context) => {
        const acl = context.given.need("acl");
        confirm(context, `delete ACL ${acl}`);
        await context.api.delete(pathOf`/api/acls/${acl}`);
        await context.output.result({ deleted: acl }, () => `ACL ${acl} is deleted`);
      },
    },
  },
};

const QUOTA: Options = {
  "publish-bytes-per-second": option("bytes", "A number, or none"),
  "publish-messages-per-second": option("n", "A number, or none"),
  "consume-bytes-per-second": option("bytes", "A number, or none"),
  "requests-per-second": option("n", "A number, or none"),
  connections: option("n", "A number, or none"),
  topics: option("n", "A number, or none"),
  "in-flight-bytes": option("bytes", "A number, or none"),
};
const TENANT = { tenant: word("Name of the tenant") };

export const quotas: CommandGroup = {
  describes: "List, show, set and delete quotas of tenants",
  commands: {
    list: {
      describes: "List quotas by tenant, with what each tenant uses",
      options: { ...LIMIT },
      examples: [["", "who is near their limit"]],
      run: async ({ given, api, output }) => {
        const { entries } = await api.list("/api/quotas", "quotas", {
          limit: given.integer("limit")!,
        });
        await output.result({ quotas: entries }, () =>
          output.table(
            ["TENANT", "FROM", "PUBLISH B/S", "PUBLISH MSG/S", "CONSUME B/S", "REQ/S", "REFUSED"],
            entries.map(({ tenant, source, usage, ...quota }) => [
              tenant,
              source,
              usedOf(usage.publishBytesPerSecond, quota.publishBytesPerSecond),
              usedOf(usage.publishMessagesPerSecond, quota.publishMessagesPerSecond),
              usedOf(usage.consumeBytesPerSecond, quota.consumeBytesPerSecond),
              usedOf(usage.requestsPerSecond, quota.requestsPerSecond),
              count(usage.refused),
            ]),
            "there are no quotas",
          ));
      },
    },
    show: {
      describes: "Show what a tenant may ask for, and what it uses",
      options: TENANT,
      examples: [["shop", "limits and use"]],
      run: async (context) => {
        const path = pathOf`/api/quotas/${context.given.need("tenant")}`;
        await showQuota(context, await context.api.get(path));
      },
    },
    set: {
      describes: "Change the quota of a tenant; what is not given stays",
      options: { ...TENANT, ...QUOTA },
      examples: [
        ["shop --publish-bytes-per-second 10000000", "10 MB/s"],
        ["shop --connections none", "no limit"],
      ],
      run: setQuota,
    },
    delete: {
      describes: "Delete the quota of a tenant: the default holds",
      options: { ...TENANT, ...YES },
      examples: [["shop --yes", "without asking"]],
      run: async (context) => {
        const tenant = context.given.need("tenant");
        confirm(context, `delete the quota of ${tenant}`);
        await context.api.delete(pathOf`/api/quotas/${tenant}`);
        await context.output.result({ deleted: tenant }, () => `the quota of ${tenant} is deleted`);
      },
    },
  },
};

/** The broker sets whole quotas: what stays is read first. */
async function setQuota(context: Context): Promise<void> {
  const { given, api } = context;
  const path = pathOf`/api/quotas/${given.need("tenant")}`;
  const names = Object.keys(QUOTA);
  if (names.every((name) => given.text(name) === undefined)) {
    throw new UsageError("nothing is to be changed");
  }
  const before = await api.get(path);
  const body = Object.fromEntries(names.map((name) => {
    const value = given.limit(name);
    return [camel(name), value === undefined ? before[camel(name)] : value];
  }));
  await showQuota(context, await api.json("PUT", path, { body }));
}

async function showQuota({ output }: Context, quota: Json): Promise<void> {
  const { tenant, source, usage, ...limits } = quota;
  const names = Object.keys(QUOTA).map(camel);
  await output.result(quota, () => [
    output.fields([["tenant", tenant], ["from", source]]),
    "",
    output.table(
      ["QUOTA", "LIMIT", "USED"],
      names.map((name) => [
        name,
        limits[name] === null ? "none" : count(limits[name]),
        count(usage[name]),
      ]),
    ),
  ]);
}

function usedOf(used: number, limit: number | null): string {
  return `${count(Math.round(used))} of ${limit === null ? "any" : count(limit)}`;
}
