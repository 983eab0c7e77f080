// Owns what an entry of the access table says, and the few words that entries are made of.
// Refuses to own the table itself (access_table.ts) and deciding (authorizer.ts).
// Invariant: an entry that says nothing opens nothing.
import type { AclOperation } from "../../actors/acl/types.ts";
import type { AuditColumn } from "../audit/audit_rule.ts";
import { CLUSTER, type Need } from "./authorizer.ts";

/** Checked input of a request, as its route's schemas put it out. */
export interface AccessInput {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
}

/** Who may use a route. */
export interface AccessEntry {
  /** open: everybody, without a credential. authenticated: whoever has one. needs: whoever ACLs allow it. */
  readonly kind: "open" | "authenticated" | "needs";
  /** What is needed, for people. */
  readonly text: string;
  /** What a request has to be allowed before its handler runs; all of it. */
  readonly needs: (input: AccessInput) => readonly Need[];
  /** Kinds of resources that may be refused as if they were not there. */
  readonly hides: readonly ("topic" | "group")[];
  /** What of it is audited; every route but those that only read must say. */
  readonly audit?: AuditColumn;
}

const NONE: readonly Need[] = [];
const nothing = () => NONE;

/** Needs no credential. */
export const OPEN: AccessEntry = { kind: "open", text: "nothing", needs: nothing, hides: [] };

/** Every credential opens it; `text` says what a handler leaves out or refuses by itself. */
export function authenticated(text = "a credential"): AccessEntry {
  return { kind: "authenticated", text, needs: nothing, hides: [] };
}

/** Needs an operation on the cluster. */
export function onCluster(operation: AclOperation): AccessEntry {
  const all: readonly Need[] = [{ operation, resource: "cluster", name: CLUSTER }];
  return { kind: "needs", text: `${operation} on the cluster`, needs: () => all, hides: [] };
}

/** Needs what `names` finds in the input. */
export function needs<Input extends AccessInput>(
  text: string,
  hides: AccessEntry["hides"],
  find: (input: Input) => readonly Need[],
): AccessEntry {
  // The table's test sends every route what its schemas put out.
  return { kind: "needs", text, needs: find as AccessEntry["needs"], hides };
}

/** The handler asks (`context.authorize`), since the request alone does not tell what it is about. */
export function askedByHandler(text: string, hides: AccessEntry["hides"]): AccessEntry {
  return { kind: "needs", text, needs: nothing, hides };
}

/** Needs an operation on the topic that the path names. */
export function onTopic(operation: AclOperation): AccessEntry {
  return needs<{ params: { topic: string }; query: unknown; body: unknown }>(
    `${operation} on the topic`,
    ["topic"],
    ({ params: { topic } }) => [topicNeed(operation, topic)],
  );
}

/** Needs an operation on the group that the path names. */
export function onGroup(operation: AclOperation): AccessEntry {
  return needs<{ params: { group: string }; query: unknown; body: unknown }>(
    `${operation} on the group`,
    ["group"],
    ({ params: { group } }) => [groupNeed(operation, group)],
  );
}

export function topicNeed(operation: AclOperation, name: string): Need {
  return { operation, resource: "topic", name };
}

export function groupNeed(operation: AclOperation, name: string): Need {
  return { operation, resource: "group", name };
}

/** The same operation on each of `names`, once. */
export function topicNeeds(operation: AclOperation, names: Iterable<string>): Need[] {
  return Array.from(new Set(names), (name) => topicNeed(operation, name));
}

/** Throws, as `authorize` does, unless a route of this entry may be used with this input. */
export function refuseUnlessAllowed(
  { needs }: AccessEntry,
  input: AccessInput,
  authorize: (need: Need) => void,
): void {
  const all = needs(input);
  for (let index = 0; index < all.length; index++) authorize(all[index]!);
}
