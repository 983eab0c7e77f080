// Owns what a change of the API keys means: which is refused, and what happened.
// Refuses to own where they are kept (access_keys.ts). Pure.
// Invariant: all keys of a principal belong to one tenant, and there are never more than `maxKeys`.
import { BrokerError } from "../../storage/broker_error.ts";
import type { EntryChange } from "../runtime/kept_entries.ts";
import { type AccessKey, DEFAULT_TENANT, type NewAccessKey } from "./types.ts";

export type AccessKeyCommand =
  | { readonly type: "CreateKey"; readonly key: NewAccessKey; readonly at: number }
  | { readonly type: "DeleteKey"; readonly keyId: string };

export type AccessKeyEvent =
  | { readonly type: "KeyCreated"; readonly key: AccessKey }
  | { readonly type: "KeyDeleted"; readonly keyId: string };

/** Keys by id. */
export type AccessKeyState = ReadonlyMap<string, AccessKey>;

/** What happens. Throws INVALID_REQUEST, LIMIT_REACHED, NOT_FOUND. */
export function decideAccessKeys(
  state: AccessKeyState,
  command: AccessKeyCommand,
  options: { readonly maxKeys: number },
): AccessKeyEvent {
  if (command.type === "DeleteKey") {
    if (!state.has(command.keyId)) {
      throw new BrokerError("NOT_FOUND", `there is no API key with id ${command.keyId}`);
    }
    return { type: "KeyDeleted", keyId: command.keyId };
  }
  const { key, at } = command;
  const { maxKeys } = options;
  if (state.size >= maxKeys) {
    throw new BrokerError("LIMIT_REACHED", `there are ${maxKeys} API keys: delete some first`);
  }
  if (key.expiresAt !== null && key.expiresAt <= at) {
    throw new BrokerError("INVALID_REQUEST", "expiresAt lies in the past", {
      errors: [{ path: "expiresAt", message: "must lie in the future" }],
    });
  }
  const known = tenantsIn(state).get(key.principal) ?? null;
  const tenant = key.tenant ?? known ?? DEFAULT_TENANT;
  if (known !== null && tenant !== known) {
    throw new BrokerError(
      "INVALID_REQUEST",
      `principal ${key.principal} has keys of tenant ${known}: a principal belongs to one tenant`,
      { errors: [{ path: "tenant", message: `must be ${known}, or be left out` }] },
    );
  }
  const { keyId, principal, digest, createdBy, expiresAt } = key;
  const kept = { keyId, principal, tenant, digest, createdAt: at, createdBy, expiresAt };
  return { type: "KeyCreated", key: kept };
}

/** What `event` makes of the set. */
export function changeOfAccessKeys(event: AccessKeyEvent): EntryChange<AccessKey> {
  return event.type === "KeyCreated"
    ? { id: event.key.keyId, entry: event.key }
    : { id: event.keyId, entry: null };
}

/** Gone through once a state: each change makes a new one, while tokens are looked up all the time. */
const tenants = new WeakMap<AccessKeyState, ReadonlyMap<string, string>>();

/** By principal. */
export function tenantsIn(state: AccessKeyState): ReadonlyMap<string, string> {
  let known = tenants.get(state);
  if (known === undefined) {
    known = new Map([...state.values()].map(({ principal, tenant }) => [principal, tenant]));
    tenants.set(state, known);
  }
  return known;
}
