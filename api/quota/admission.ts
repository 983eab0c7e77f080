// Owns which requests of a route are held to quotas, and what is known of one before its body is read.
// Refuses to own what a request takes (request_use.ts).
// Invariant: an administrator can always reach what sets quotas, keys and ACLs, however small a quota was set.
import type { Access } from "../auth/access.ts";
import type { RouteDefinition } from "../route.ts";
import type { QuotaGate } from "./gate.ts";
import type { RequestUse } from "./request_use.ts";

/** Whose routes an administrator is let in to without quota. */
const ADMINISTRATION = /^\/api\/(?:keys|acls|quotas|audit)(?:[/:]|$)/;

/** What a request to `route` takes, to be admitted; null when it is not held to a quota. */
export function admissionOf(
  route: Pick<RouteDefinition, "path" | "open" | "publishes" | "body" | "binaryBody">,
  quota: QuotaGate,
): (access: Access, request: Request) => RequestUse | null {
  if (route.open) return () => null;
  const administers = ADMINISTRATION.test(route.path);
  const publishes = route.publishes ?? false;
  const hasBody = route.body !== undefined || route.binaryBody !== undefined;
  return (access, { headers }) => {
    if (administers && access.isAdministrator) return null;
    const bodyBytes = hasBody ? lengthOf(headers) : null;
    return quota.request(access, { publishes, bodyBytes });
  };
}

function lengthOf(headers: Headers): number | null {
  const declared = headers.get("content-length");
  const bytes = declared === null ? NaN : Number(declared);
  return Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : null;
}
