// Owns under which names intents and responses lie in `__requests`.
// Refuses to own what lies there (types.ts) and finding it (request_log.ts).
// Invariant: no two of these names can be the same.
import { DEFAULT_TENANT } from "../access_key/types.ts";
import type { Topic } from "../broker.ts";
import type { KeyPlace } from "../message_keys/key_table.ts";
import type { RequestName } from "./types.ts";

/** Principals, tenants and keys have no line breaks, the first two no spaces. The default tenant stands in no name. */
export function nameOf({ principal, tenant, key }: RequestName): string {
  const who = tenant === DEFAULT_TENANT ? principal : `${tenant} ${principal}`;
  return `${who}\n${key}`;
}

/** The tenant whose request has this name, or any of those made from it. */
export function tenantOf(name: string): string {
  const who = name.slice(0, name.indexOf("\n"));
  const space = who.indexOf(" ");
  return space === -1 ? DEFAULT_TENANT : who.slice(0, space);
}

/** In the log, of a request for a topic whose name was another's when the key was first used. */
export function nameAnew(name: string, { topicId }: Topic): string {
  return `${name}\n${topicId}`;
}

/** Of this very attempt's intent: an older one with the same name may have been forgotten just before its response is. */
export function responseKey(name: string, { partition, offset }: KeyPlace): string {
  return `${name}\n${partition}/${offset}`;
}
