// Owns the refusal of a credential that says whose it claims to be, for the audit log.
// Refuses to own deciding that it is refused. Invariant: what is claimed is in no answer to whoever claims it.
import { BrokerError } from "../../storage/broker_error.ts";

/** Longest name that is kept of what a token says. */
const MAX_NAME_CHARS = 249;

/** `key`: the id that an API key names. `principal`: the subject of a token whose signature holds. */
export interface ClaimedIdentity {
  readonly type: "key" | "principal";
  readonly name: string;
}

export class RefusedLogin extends BrokerError {
  constructor(message: string, readonly claimed: ClaimedIdentity | null) {
    super("UNAUTHENTICATED", message);
  }
}

/** Who a token with this `sub` claims to be; null where it does not say. */
export function claimedSubject(sub: unknown): ClaimedIdentity | null {
  if (typeof sub !== "string" || sub === "") return null;
  const name = sub.slice(0, MAX_NAME_CHARS).replaceAll(/[^\x21-\x7e]/g, "?");
  return { type: "principal", name };
}
