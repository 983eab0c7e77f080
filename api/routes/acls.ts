// Owns the routes of ACLs: make one, list them, delete one.
// Refuses to own what is kept of an ACL (actors/acl/) and what ACLs add up to (auth/permissions.ts).
// Invariant: an answered change counts for every request that comes after it.
import { z } from "zod";
import {
  type Acl,
  ACL_EFFECTS,
  ACL_OPERATIONS,
  ACL_PATTERN_TYPES,
  ACL_RESOURCES,
  type AclOperation,
  type AclResource,
  ANY,
} from "../../actors/acl/types.ts";
import { isReservedPrincipal } from "../auth/access.ts";
import { isInternalName, label, NAME_PATTERN, timestampMs } from "../fields.ts";
import { nextCursor, pageOf, type PageOrder, pageQuery } from "../paging.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const TAG = "Security";
const PATH = "/api/acls";
/** What names of topics and groups may begin with. */
const PREFIX_PATTERN = /^[A-Za-z0-9._-]{1,249}$/;

const principal = label.refine(
  (name) => name === ANY || !isReservedPrincipal(name),
  "stands for the administrator or the broker itself",
).meta({
  description: "Whom it is about: the principal of API keys or JWTs; `*`: everyone with one.",
  examples: ["billing"],
});

const tenant = z.string().regex(NAME_PATTERN, "must be 1 to 249 of A-Z a-z 0-9 . _ -");
const aclFields = {
  resource: z.enum(ACL_RESOURCES),
  patternType: z.enum(ACL_PATTERN_TYPES),
  operation: z.enum(ACL_OPERATIONS),
  effect: z.enum(ACL_EFFECTS),
};

/** What some route asks for; any other would look like a right, and be none. */
const OPERATIONS_ON: Readonly<Record<AclResource, readonly AclOperation[]>> = {
  topic: ["read", "write", "create", "delete", "alter", "describe", "all"],
  group: ["read", "delete", "alter", "describe", "all"],
  cluster: ["create", "describe", "admin", "all"],
};

const newAclSchema = z.strictObject({
  principal,
  tenant: tenant.nullable().default(null).meta({
    description: "Only those of the principal who belong to this tenant; null: of any.",
  }),
  resource: aclFields.resource,
  pattern: z.string().max(249).default(ANY).meta({
    description:
      "A name, or what names begin with; as a literal, `*` is every name. Names that begin with `__` are reached by none.",
    examples: ["orders"],
  }),
  patternType: aclFields.patternType.default("literal"),
  operation: aclFields.operation.meta({
    description:
      "Topics know all but `admin`, groups `read`, `delete`, `alter`, `describe` and `all`, the cluster `create`, `describe`, " +
      "`admin` and `all`; on the cluster `admin` is everything there is.",
  }),
  effect: aclFields.effect.default("allow").meta({ description: "deny wins over allow." }),
}).superRefine(({ resource, pattern, patternType, operation }, context) => {
  const message = faultOfPattern(resource, pattern, patternType);
  if (message !== null) context.addIssue({ code: "custom", path: ["pattern"], message });
  const known = OPERATIONS_ON[resource];
  if (!known.includes(operation)) {
    const message = `means nothing on a ${resource}, which knows ${known.join(", ")}`;
    context.addIssue({ code: "custom", path: ["operation"], message });
  }
}).meta({ id: "NewAcl" });

function faultOfPattern(resource: string, pattern: string, patternType: string): string | null {
  if (pattern === ANY && patternType === "literal") return null;
  if (resource === "cluster") return "must be *, and literal: there is one cluster";
  const isWellFormed = (patternType === "literal" ? NAME_PATTERN : PREFIX_PATTERN).test(pattern);
  if (!isWellFormed) return "must be a name, or what names begin with: A-Z a-z 0-9 . _ -";
  return isInternalName(pattern) ? "internal names are the administrators' alone" : null;
}

const aclSchema = z.strictObject({
  aclId: z.string(),
  principal: z.string(),
  tenant: z.string().nullable(),
  resource: aclFields.resource,
  pattern: z.string(),
  patternType: aclFields.patternType,
  operation: aclFields.operation,
  effect: aclFields.effect,
  createdAt: timestampMs,
  createdBy: z.string(),
}).meta({ id: "Acl" });

const filterFields = {
  principal: z.string().max(249).optional(),
  tenant: z.string().max(249).optional(),
  resource: aclFields.resource.optional(),
  pattern: z.string().max(249).optional(),
  patternType: aclFields.patternType.optional(),
  operation: aclFields.operation.optional(),
  effect: aclFields.effect.optional(),
};
type Filter = { readonly [Field in keyof typeof filterFields]: string | undefined };

/** None of the fields has spaces, and every character they may have comes after it. */
const placeOf = ({ principal, resource, pattern, aclId }: Acl) =>
  `${principal} ${resource} ${pattern} ${aclId}`;
const order: PageOrder<Acl> = {
  keyOf: placeOf,
  isAfter: (acl, place) => placeOf(acl) > place,
};

/** Routes of ACLs. */
export function aclRoutes({ broker, randomness, limits }: ApiDependencies): Route[] {
  return [
    makeRoute({ broker, randomness }),
    defineRoute({
      method: "GET",
      path: PATH,
      operationId: "listAcls",
      tag: TAG,
      summary: "List ACLs by principal, resource and pattern",
      description: "Every field given must be exactly so.",
      query: pageQuery(limits).extend(filterFields),
      responses: {
        200: {
          description: "A page of ACLs",
          schema: z.strictObject({ acls: z.array(aclSchema), nextCursor }),
        },
      },
      handler: ({ query: { limit, cursor, ...filter } }) => {
        const found = broker.acls.list().filter((acl) => isWanted(acl, filter as Filter))
          .sort((a, b) => placeOf(a) < placeOf(b) ? -1 : 1);
        const { entries, ...page } = pageOf(found, { limit, cursor }, order);
        return { data: { acls: entries.map(shown), ...page } };
      },
    }),
    defineRoute({
      method: "DELETE",
      path: `${PATH}/{aclId}`,
      operationId: "deleteAcl",
      tag: TAG,
      summary: "Delete an ACL",
      params: z.strictObject({ aclId: label }),
      responses: { 204: { description: "It counts no more" } },
      errors: ["NOT_FOUND", "METADATA_CONFLICT"],
      handler: async ({ params, audited }) => {
        const acl = broker.acls.find(params.aclId);
        audited({ before: acl === null ? null : shown(acl) });
        await broker.acls.delete(params.aclId);
        return { status: 204 };
      },
    }),
  ];
}

function makeRoute({ broker, randomness }: Pick<ApiDependencies, "broker" | "randomness">): Route {
  return defineRoute({
    method: "POST",
    path: PATH,
    operationId: "createAcl",
    tag: TAG,
    summary: "Allow or deny a principal an operation",
    description:
      "Who is allowed nothing may do nothing. read, write, alter and delete imply describe: what one may not describe does " +
      "not exist for one (404). `create` on the cluster is that of topics of any name. The same ACL again answers the one that is there.",
    body: newAclSchema,
    bodyExample: {
      principal: "billing",
      resource: "topic",
      pattern: "orders.",
      patternType: "prefix",
      operation: "read",
      effect: "allow",
    },
    responses: { 201: { description: "The ACL", schema: aclSchema } },
    errors: ["LIMIT_REACHED", "METADATA_CONFLICT"],
    handler: async ({ body, access, audited }) => {
      const aclId = randomness.uuid();
      const acl = await broker.acls.create({ ...body, aclId, createdBy: access.principal });
      audited({ resource: { type: "acl", name: acl.aclId }, after: shown(acl) });
      return { status: 201, data: shown(acl) };
    },
  });
}

function isWanted(acl: Acl, filter: Filter): boolean {
  return Object.entries(filter).every(([field, value]) =>
    value === undefined || acl[field as keyof Filter] === value
  );
}

function shown(acl: Acl) {
  const { aclId, principal, tenant, resource, pattern, patternType, operation, effect } = acl;
  const { createdAt, createdBy } = acl;
  return {
    aclId,
    principal,
    tenant,
    resource,
    pattern,
    patternType,
    operation,
    effect,
    createdAt,
    createdBy,
  };
}
