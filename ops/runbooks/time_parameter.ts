// Owns parameters of runbooks that say when something happened.
// Refuses to own what a runbook looks for then.
// Invariant: text that is not exactly a time is refused, never guessed at, and so is a time that is still to come.
import { parseTime } from "../../api/offset_query.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Clock } from "../../storage/ports.ts";
import { MINUTE_MS } from "./definition.ts";

/** The end of what a Date can tell. */
const MAX_TIME_MS = 8_640_000_000_000_000;
/** How far another's clock may be ahead of the broker's. */
const MAX_AHEAD_MS = MINUTE_MS;

type Parameters = Readonly<Record<string, string>>;

/** The parameter, ms since the epoch or RFC 3339, in ms; null: it was not given. Throws INVALID_REQUEST. */
export function timeOf(parameters: Parameters, name: string): number | null {
  const text = parameters[name];
  if (text === undefined) return null;
  const at = parseTime(text);
  if (at !== null && at <= MAX_TIME_MS) return at;
  throw new BrokerError("INVALID_REQUEST", `${name} is no time, ms or RFC 3339: ${text}`);
}

/** Looks at the parameter before anything begins. Throws INVALID_REQUEST. */
export function pastTimeCheck(clock: Clock, name: string) {
  return ({ parameters }: { readonly parameters: Parameters }): void => {
    const at = timeOf(parameters, name);
    if (at === null || at <= clock.now() + MAX_AHEAD_MS) return;
    throw new BrokerError("INVALID_REQUEST", `${name} is still to come: ${parameters[name]}`);
  };
}
