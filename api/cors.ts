// Owns what pages of other origins are told they may do here (CORS): nothing, but for the origins of the configuration.
// Refuses to own refusing what browsers send anyway (security.ts) and whose page may open a WebSocket.
// Invariant: without an allowed origin no answer has a CORS header; with some, an origin that is none of them gets none.

type Fetch<Rest extends unknown[]> = (
  request: Request,
  ...rest: Rest
) => Response | Promise<Response>;

const ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE";
/** What programs on pages need to send; cookies are never asked for, so credentials stay off. */
const ALLOWED_HEADERS =
  "authorization, content-type, accept, idempotency-key, traceparent, x-request-id";
const EXPOSED_HEADERS =
  "x-request-id, retry-after, idempotency-replayed, ratelimit, ratelimit-policy, www-authenticate";
/** Longest that a browser keeps what it was told; browsers cap it at two hours or less. */
const MAX_AGE_SECONDS = 600;

/** `fetch` with CORS for these origins; `fetch` itself when there are none. */
export function withCors<Rest extends unknown[]>(
  fetch: Fetch<Rest>,
  allowedOrigins: readonly string[],
): Fetch<Rest> {
  if (allowedOrigins.length === 0) {
    return (request, ...rest) => isForeignPreflight(request) ? refusal() : fetch(request, ...rest);
  }
  const allowed = new Set(allowedOrigins);
  return (request, ...rest) => {
    const origin = request.headers.get("origin");
    if (origin !== null && allowed.has(origin) && isPreflight(request)) return preflight(origin);
    if (isForeignPreflight(request)) return stamped(refusal(), origin, allowed);
    const answer = fetch(request, ...rest);
    if (!(answer instanceof Promise)) return stamped(answer, origin, allowed);
    return answer.then((response) => stamped(response, origin, allowed));
  };
}

function isPreflight({ method, headers }: Request): boolean {
  return method === "OPTIONS" && headers.has("access-control-request-method");
}

function isForeignPreflight(request: Request): boolean {
  if (request.method !== "OPTIONS" || !isPreflight(request)) return false;
  const origin = request.headers.get("origin");
  return origin !== null && URL.parse(origin)?.host !== URL.parse(request.url)?.host;
}

/** Browsers show their users nothing of it but the status. */
function refusal(): Response {
  return new Response(null, { status: 403 });
}

function preflight(origin: string): Response {
  return new Response(null, {
    status: 204,
    headers: {
      "access-control-allow-origin": origin,
      "access-control-allow-methods": ALLOWED_METHODS,
      "access-control-allow-headers": ALLOWED_HEADERS,
      "access-control-max-age": String(MAX_AGE_SECONDS),
      vary: "origin, access-control-request-method, access-control-request-headers",
    },
  });
}

function stamped(
  response: Response,
  origin: string | null,
  allowed: ReadonlySet<string>,
): Response {
  // An upgrade must be returned as it is.
  if (response.status === 101) return response;
  response.headers.append("vary", "origin");
  if (origin === null || !allowed.has(origin)) return response;
  response.headers.set("access-control-allow-origin", origin);
  response.headers.set("access-control-expose-headers", EXPOSED_HEADERS);
  return response;
}
