// Owns the routes of API keys: make one, list them, revoke one.
// Refuses to own what is kept of a key (actors/access_key/) and what a key opens (auth/credentials.ts).
// Invariant: a key is in the answer that makes it and nowhere else.
import { z } from "zod";
import type { AccessKey } from "../../actors/access_key/types.ts";
import { isReservedPrincipal } from "../auth/access.ts";
import { digestOf, newApiKey } from "../auth/api_key.ts";
import { label, NAME_PATTERN, timestampMs } from "../fields.ts";
import { time } from "../past_place.ts";
import { nextCursor, pageOf, type PageOrder, pageQuery } from "../paging.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const TAG = "Security";
const PATH = "/api/keys";

const principal = label.refine(
  (name) => !isReservedPrincipal(name),
  "stands for the administrator, the broker itself or everybody",
).meta({ description: "Whom the key stands for: the name in histories.", examples: ["billing"] });

const tenant = z.string().regex(NAME_PATTERN, "must be 1 to 249 of A-Z a-z 0-9 . _ -")
  .meta({ description: "Whom the principal belongs to.", examples: ["default"] });

const newKeySchema = z.strictObject({
  principal,
  tenant: tenant.optional().meta({
    description:
      "Default: that of the principal's other keys, else `default`. A principal has one.",
  }),
  expiresAt: time.optional().meta({
    description: "From then on the key opens nothing: ms since the epoch, or RFC 3339.",
  }),
});

/** Strict, so that a key in the place of its id is not repeated by the error. */
const keyId = z.string().regex(/^[0-9a-f-]{36}$/, "must be the id of a key");

const keyFields = {
  keyId: z.string(),
  principal: z.string(),
  tenant: z.string(),
  createdAt: timestampMs,
  createdBy: z.string(),
  expiresAt: timestampMs.nullable(),
};
const keySchema = z.strictObject({
  ...keyFields,
  expired: z.boolean(),
}).meta({ id: "ApiKey" });
const madeKeySchema = z.strictObject({
  ...keyFields,
  key: z.string().meta({ description: "The key itself, shown this once." }),
}).meta({ id: "NewApiKey" });

/** Principals have no spaces, and every character they may have comes after it. */
const nameOf = ({ principal, keyId }: AccessKey) => `${principal} ${keyId}`;
const order: PageOrder<AccessKey> = {
  keyOf: nameOf,
  isAfter: (entry, name) => nameOf(entry) > name,
};

/** Routes of API keys. */
export function keyRoutes({ broker, clock, randomness, limits }: ApiDependencies): Route[] {
  return [
    makeRoute({ broker, randomness }),
    defineRoute({
      method: "GET",
      path: PATH,
      operationId: "listKeys",
      tag: TAG,
      summary: "List API keys by principal, without the keys themselves",
      query: pageQuery(limits),
      responses: {
        200: {
          description: "A page of keys",
          schema: z.strictObject({ keys: z.array(keySchema), nextCursor }),
        },
      },
      errors: ["FORBIDDEN"],
      handler: ({ query }) => {
        const { entries, ...page } = pageOf(broker.accessKeys.list(), query, order);
        const now = clock.now();
        const keys = entries.map((key) => ({
          ...shown(key),
          expired: key.expiresAt !== null && key.expiresAt <= now,
        }));
        return { data: { keys, ...page } };
      },
    }),
    defineRoute({
      method: "DELETE",
      path: `${PATH}/{keyId}`,
      operationId: "revokeKey",
      tag: TAG,
      summary: "Revoke an API key",
      description:
        "It opens nothing from the answer on. WebSockets that it opened are closed (4003), its HTTP members leave.",
      params: z.strictObject({ keyId }),
      responses: { 204: { description: "It is gone" } },
      errors: ["FORBIDDEN", "NOT_FOUND", "METADATA_CONFLICT"],
      handler: async ({ params, audited }) => {
        const key = broker.accessKeys.find(params.keyId);
        audited({ before: key === null ? null : shown(key) });
        await broker.accessKeys.delete(params.keyId);
        return { status: 204 };
      },
    }),
  ];
}

function makeRoute({ broker, randomness }: Pick<ApiDependencies, "broker" | "randomness">): Route {
  return defineRoute({
    method: "POST",
    path: PATH,
    operationId: "createKey",
    tag: TAG,
    summary: "Make an API key",
    description:
      "A principal may have several: to rotate, make the next one, hand it out, and revoke the last. " +
      "The broker keeps a digest of the key, so it cannot show it again.",
    body: newKeySchema,
    bodyExample: { principal: "billing", tenant: "default", expiresAt: "2030-01-01T00:00:00Z" },
    responses: { 201: { description: "The key", schema: madeKeySchema } },
    errors: ["FORBIDDEN", "LIMIT_REACHED", "METADATA_CONFLICT"],
    handler: async ({ body, access, audited }) => {
      const keyId = randomness.uuid();
      const key = newApiKey(keyId);
      const made = await broker.accessKeys.create({
        keyId,
        principal: body.principal,
        tenant: body.tenant,
        digest: digestOf(key).toHex(),
        createdBy: access.principal,
        expiresAt: body.expiresAt ?? null,
      });
      audited({ resource: { type: "key", name: keyId }, after: shown(made) });
      return { status: 201, data: { ...shown(made), key } };
    },
  });
}

function shown({ keyId, principal, tenant, createdAt, createdBy, expiresAt }: AccessKey) {
  return { keyId, principal, tenant, createdAt, createdBy, expiresAt };
}
