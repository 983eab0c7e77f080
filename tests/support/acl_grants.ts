// Owns giving principals rights in tests.
// Refuses to own what the rights mean. Invariant: what it grants is durable when it resolves.
import type { AclOperation, AclResource, AclRule } from "../../actors/acl/types.ts";
import type { Broker } from "../../actors/broker.ts";

/** Which operations, on what: `["topic", "orders", "read", "write"]`; a pattern that ends in `*` is a prefix. */
export type Grant = readonly [AclResource, string, ...AclOperation[]];

/** A whole rule of what a test says of one. */
export function rule(about: Partial<AclRule> = {}): AclRule {
  return {
    principal: "billing",
    tenant: null,
    resource: "topic",
    pattern: "orders",
    patternType: "literal",
    operation: "read",
    effect: "allow",
    ...about,
  };
}

/** Allows `principal` all that `grants` say. */
export async function allow(
  broker: Pick<Broker, "acls">,
  principal: string,
  grants: readonly Grant[],
): Promise<void> {
  for (const [resource, pattern, ...operations] of grants) {
    const isPrefix = pattern.length > 1 && pattern.endsWith("*");
    for (const operation of operations) {
      await broker.acls.create({
        ...rule({ principal, resource, operation }),
        pattern: isPrefix ? pattern.slice(0, -1) : pattern,
        patternType: isPrefix ? "prefix" : "literal",
        aclId: crypto.randomUUID(),
        createdBy: "admin",
      });
    }
  }
}

/** Everything on topics and groups, nothing on the cluster. */
export const ALL_TOPICS_AND_GROUPS: readonly Grant[] = [
  ["topic", "*", "all"],
  ["group", "*", "all"],
];
