// Owns the tests of what ACLs add up to, and of the authorizer that answers from memory.
// Refuses to own keeping ACLs (acl_keeping_test.ts) and the routes' needs (access_table_test.ts).
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type Acl,
  ACL_OPERATIONS,
  ACL_RESOURCES,
  type AclOperation,
  type AclResource,
  type AclRule,
} from "../actors/acl/types.ts";
import { type Access, ADMINISTRATOR, ANONYMOUS } from "../api/auth/access.ts";
import { AclAuthorizer, CLUSTER } from "../api/auth/authorizer.ts";
import { rule } from "./support/acl_grants.ts";

/** An authorizer over rules that can be exchanged. */
function authorizerOf(rules: readonly AclRule[]) {
  const listeners = new Set<() => void>();
  const numbered = (rules: readonly AclRule[]): Acl[] =>
    rules.map((rule, index) => ({ ...rule, aclId: `${index}`, createdAt: 0, createdBy: "admin" }));
  let acls = numbered(rules);
  const authorizer = new AclAuthorizer({
    list: () => acls,
    onChanged: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  });
  const change = (rules: readonly AclRule[]) => {
    acls = numbered(rules);
    for (const listener of listeners) listener();
  };
  return { authorizer, change };
}

function accessOf(principal = "billing", tenant = "acme"): Access {
  return { principal, tenant, isAdministrator: false, ended: () => null, leftMs: () => Infinity };
}

/** Operations that `access` may do on `name`, in the order of the vocabulary. */
function may(
  rules: readonly AclRule[],
  name = "orders",
  resource: AclResource = "topic",
  access = accessOf(),
): AclOperation[] {
  const { authorizer } = authorizerOf(rules);
  return ACL_OPERATIONS.filter((operation) => authorizer.allows(access, operation, resource, name));
}

Deno.test("who is allowed nothing may do nothing, and an administrator everything", () => {
  for (const resource of ACL_RESOURCES) {
    assert.deepEqual(may([], "orders", resource), []);
    assert.deepEqual(may([], "orders", resource, ANONYMOUS), []);
    assert.deepEqual(may([], "__groups", resource, ADMINISTRATOR), [...ACL_OPERATIONS]);
  }
});

Deno.test("read, write, alter and delete show what they are done to; create and describe are themselves", () => {
  for (const operation of ["read", "write", "alter", "delete"] as const) {
    assert.deepEqual(may([rule({ operation })]).sort(), [operation, "describe"].sort());
  }
  assert.deepEqual(may([rule({ operation: "create" })]), ["create"]);
  assert.deepEqual(may([rule({ operation: "describe" })]), ["describe"]);
  for (const operation of ["all", "admin"] as const) {
    assert.deepEqual(may([rule({ operation })]), [...ACL_OPERATIONS]);
  }
});

Deno.test("deny wins whatever allows, and what may not be seen can have nothing done to it", () => {
  const all = rule({ pattern: "*", operation: "all" });
  assert.deepEqual(
    may([all, rule({ operation: "write", effect: "deny", principal: "*" })]),
    ACL_OPERATIONS.filter((operation) => operation !== "write"),
  );
  assert.deepEqual(may([rule(), rule({ effect: "deny" })]), []);
  assert.deepEqual(may([all, rule({ operation: "describe", effect: "deny" })]), ["create"]);
  const prefix = { pattern: "ord", patternType: "prefix" } as const;
  assert.deepEqual(may([all, rule({ ...prefix, operation: "all", effect: "deny" })]), []);
  assert.deepEqual(may([all, rule({ operation: "all", effect: "deny", pattern: "*" })]), []);
});

Deno.test("a literal is one name, a prefix all that begin so, * all but internal ones, of this resource alone", () => {
  assert.deepEqual(may([rule({ pattern: "order" })]), []);
  assert.deepEqual(may([rule({ pattern: "orders", patternType: "prefix" })], "orders.eu"), [
    "read",
    "describe",
  ]);
  assert.deepEqual(may([rule({ pattern: "orders.", patternType: "prefix" })], "orders"), []);
  assert.deepEqual(may([rule({ pattern: "*" })], "anything"), ["read", "describe"]);
  assert.deepEqual(may([rule({ pattern: "*" })], "orders", "group"), []);
  for (const pattern of ["*", "__groups"]) {
    assert.deepEqual(may([rule({ pattern, operation: "all" })], "__groups"), []);
  }
  const underscores = rule({ pattern: "_", patternType: "prefix", operation: "all" });
  assert.deepEqual(may([underscores], "__groups"), []);
  assert.deepEqual(may([underscores], "_mine"), [...ACL_OPERATIONS]);
});

Deno.test("an ACL is of its principal, or of all with *, and of its tenant if it names one", () => {
  assert.deepEqual(may([rule({ principal: "audit" })]), []);
  assert.deepEqual(may([rule({ principal: "*" })]), ["read", "describe"]);
  assert.deepEqual(may([rule({ principal: "*" })], "orders", "topic", ANONYMOUS), []);
  assert.deepEqual(may([rule({ tenant: "acme" })]), ["read", "describe"]);
  assert.deepEqual(may([rule({ tenant: "other" })]), []);
  assert.deepEqual(may([rule({ principal: "*", tenant: "other", effect: "deny" }), rule()]), [
    "read",
    "describe",
  ]);
});

Deno.test("create on the cluster is create on every topic, and denying it there denies it everywhere", () => {
  const cluster = { resource: "cluster", pattern: "*", operation: "create" } as const;
  assert.deepEqual(may([rule(cluster)], "any"), ["create"]);
  assert.deepEqual(may([rule(cluster)], "any", "group"), []);
  assert.deepEqual(may([rule(cluster)], "__any"), []);
  assert.deepEqual(may([rule({ ...cluster, effect: "deny" }), rule({ operation: "create" })]), []);
  assert.deepEqual(may([rule({ operation: "create", effect: "deny" }), rule(cluster)]), []);
});

Deno.test("admin on the cluster is everything, whatever else is denied, and all on the cluster holds it", () => {
  for (const operation of ["admin", "all"] as const) {
    const cluster = rule({ resource: "cluster", pattern: "*", operation });
    const denied = rule({ pattern: "*", operation: "all", effect: "deny" });
    assert.deepEqual(may([cluster, denied], "__groups"), [...ACL_OPERATIONS]);
    assert.ok(authorizerOf([cluster]).authorizer.isAdministrator(accessOf()));
    const taken = rule({ resource: "cluster", pattern: "*", operation: "admin", effect: "deny" });
    assert.ok(!authorizerOf([cluster, taken]).authorizer.isAdministrator(accessOf()));
  }
  const describe = rule({ resource: "cluster", pattern: "*", operation: "describe" });
  assert.deepEqual(may([describe], CLUSTER, "cluster"), ["describe"]);
});

Deno.test("what one may not see is refused in the words of what is not there, the rest as forbidden", () => {
  const { authorizer } = authorizerOf([rule(), rule({ resource: "group", pattern: "g" })]);
  const require = (operation: AclOperation, resource: AclResource, name: string) => () =>
    authorizer.require(accessOf(), { operation, resource, name });
  assert.doesNotThrow(require("read", "topic", "orders"));
  assert.throws(require("read", "topic", "secret"), {
    code: "UNKNOWN_TOPIC",
    message: "there is no topic secret",
    details: { topic: "secret" },
  });
  assert.throws(require("alter", "group", "h"), {
    code: "UNKNOWN_GROUP",
    message: "there is no group h",
    details: { groupId: "h" },
  });
  assert.throws(require("write", "topic", "orders"), {
    code: "FORBIDDEN",
    message: "no ACL allows write on topic orders",
    details: { operation: "write", resource: "topic", name: "orders" },
  });
  assert.throws(require("create", "topic", "secret"), { code: "FORBIDDEN" });
  assert.throws(require("describe", "cluster", CLUSTER), { code: "FORBIDDEN" });
});

Deno.test("a change of the ACLs counts at once, and everybody is told after it", () => {
  const { authorizer, change } = authorizerOf([]);
  const access = accessOf();
  const seen: boolean[] = [];
  const stop = authorizer.onChanged(() =>
    seen.push(authorizer.allows(access, "read", "topic", "orders"))
  );
  assert.ok(!authorizer.sees(access, "topic", "orders"));
  change([rule()]);
  assert.ok(authorizer.sees(access, "topic", "orders"));
  change([rule(), rule({ effect: "deny" })]);
  assert.ok(!authorizer.sees(access, "topic", "orders"));
  stop();
  change([rule()]);
  assert.deepEqual(seen, [true, false]);
});

Deno.test("however many names and principals are asked for, answers stay right", () => {
  const { authorizer } = authorizerOf([rule({ pattern: "even", patternType: "prefix" })]);
  for (let round = 0; round < 2; round++) {
    for (let number = 0; number < 25_000; number++) {
      const name = `${number % 2 === 0 ? "even" : "odd"}-${number}`;
      const access = number % 10 === 0 ? accessOf(`p${number}`) : BILLING;
      const expected = number % 2 === 0 && access === BILLING;
      assert.equal(authorizer.allows(access, "read", "topic", name), expected, name);
    }
  }
});

const BILLING = accessOf();

const anyRule: fc.Arbitrary<AclRule> = fc.record({
  principal: fc.constantFrom("*", "billing", "audit"),
  tenant: fc.constantFrom(null, "acme", "other"),
  resource: fc.constantFrom(...ACL_RESOURCES),
  pattern: fc.constantFrom("*", "a", "ab", "abc", "__a"),
  patternType: fc.constantFrom("literal" as const, "prefix" as const),
  operation: fc.constantFrom(...ACL_OPERATIONS),
  effect: fc.constantFrom("allow" as const, "deny" as const),
}).map((one) =>
  one.resource === "cluster" || one.pattern === "*"
    ? { ...one, pattern: "*", patternType: "literal" }
    : one
);

/** The rules once more, slowly and by the book. */
function model(rules: readonly AclRule[], operation: AclOperation, at: [AclResource, string]) {
  const mine = rules.filter(({ principal, tenant }) =>
    ["*", "billing"].includes(principal) && [null, "acme"].includes(tenant)
  );
  const says = (effect: string, asked: AclOperation, [resource, name]: [AclResource, string]) =>
    mine.some((one) => {
      const isIt = one.resource === resource && (one.pattern === "*" || (
        one.patternType === "literal" ? one.pattern === name : name.startsWith(one.pattern)
      ));
      const isWhole = one.operation === "all" ||
        (one.operation === "admin" && (resource !== "cluster" || effect === "allow"));
      return isIt && one.effect === effect && (isWhole || one.operation === asked);
    });
  const cluster: [AclResource, string] = ["cluster", "*"];
  const holds = (asked: AclOperation, where: [AclResource, string]): boolean => {
    const spots = where[0] === "topic" && asked === "create" ? [where, cluster] : [where];
    if (spots.some((spot) => says("deny", asked, spot))) return false;
    return spots.some((spot) => says("allow", asked, spot));
  };
  if (says("allow", "admin", cluster) && !says("deny", "admin", cluster)) {
    if (!says("deny", "describe", cluster)) return true;
  }
  if (at[0] !== "cluster" && at[1].startsWith("__")) return false;
  if (says("deny", "describe", at) && operation !== "create") return false;
  if (operation !== "describe") return holds(operation, at);
  return ["describe", "read", "write", "alter", "delete"].some((one) =>
    holds(one as AclOperation, at)
  );
}

Deno.test("the authorizer agrees with the rules by the book", () => {
  fc.assert(
    fc.property(fc.array(anyRule, { maxLength: 8 }), (rules) => {
      const { authorizer } = authorizerOf(rules);
      for (const resource of ACL_RESOURCES) {
        for (const name of resource === "cluster" ? ["*"] : ["a", "ab", "abcd", "b", "__a"]) {
          for (const operation of ACL_OPERATIONS) {
            const expected = model(rules, operation, [resource, name]);
            const asked = `${operation} ${resource} ${name}`;
            assert.equal(authorizer.allows(BILLING, operation, resource, name), expected, asked);
          }
        }
      }
    }),
    { numRuns: 500 },
  );
});
