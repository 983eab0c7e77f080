// Owns what a request's address is taken to be: the name that it calls the broker by, and the path as it was sent.
// Refuses to own which names are answered to (security.ts) and what is at a path (app.ts).
// Invariant: an address that makes no URL is refused before anything reads it; a path is the one that the router sees.
import type { BrokerError } from "../storage/broker_error.ts";
import { invalidRequest } from "./plain_data.ts";

/** What would end the name within the URL that the runtime makes of it, and shift the path. */
const SHIFTS_PATH = /[\s/?#@\\]/;

/** Tells which requests cannot be addressed: INVALID_REQUEST for these, else null. */
export function addressCheck(): (request: Request) => BrokerError | null {
  /** Last that passed: nearly every request brings it again. */
  let known: string | null = null;
  return ({ headers }) => {
    const host = headers.get("host");
    if (host === null || host === "" || host === known) return null;
    if (SHIFTS_PATH.test(host) || !URL.canParse(`http://${host}/`)) return noAddress();
    known = host;
    return null;
  };
}

/** `url` taken apart. Throws INVALID_REQUEST. */
export function parsedAddress(url: string): URL {
  const parsed = URL.parse(url);
  if (parsed === null) throw noAddress();
  return parsed;
}

/** The path of `url`, neither decoded nor shortened. */
export function rawPath(url: string): string {
  const path = url.indexOf("/", url.indexOf("://") + 3);
  if (path < 0) return "/";
  const query = url.indexOf("?", path);
  return url.slice(path, query < 0 ? undefined : query);
}

function noAddress(): BrokerError {
  return invalidRequest([{ path: "", message: "Host and path make no URL" }]);
}
