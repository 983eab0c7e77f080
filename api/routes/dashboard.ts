// Owns serving the dashboard: the page at `/` and its script, style sheet and icon.
// Refuses to own what it shows (../dashboard/), and any data: the page asks the public API, as anybody does.
// Invariant: nothing served here depends on who asks or on what the broker holds; the page may load from this broker alone.
import { createHash } from "node:crypto";
import script from "../dashboard/bundle/app.js" with { type: "text" };
import icon from "../dashboard/icon.svg" with { type: "text" };
import page from "../dashboard/index.html" with { type: "text" };
import style from "../dashboard/style.css" with { type: "text" };
import { guardedHeaders } from "../page_headers.ts";
import { defineRoute, type Route } from "../route.ts";

const TAG = "Dashboard";

/** Own scripts, styles and requests only; no inline script or style, no markup made from text, no frame, no form that is sent. */
const PAGE_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
  "require-trusted-types-for 'script'; trusted-types 'none'";

interface Asset {
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly mediaType: string;
  readonly text: string;
  readonly policy: string;
}

const ASSETS: readonly Asset[] = [
  {
    path: "/",
    operationId: "getDashboard",
    summary: "The dashboard",
    mediaType: "text/html; charset=utf-8",
    text: page,
    policy: PAGE_POLICY,
  },
  {
    path: "/dashboard/app.js",
    operationId: "getDashboardScript",
    summary: "The dashboard's script",
    mediaType: "text/javascript; charset=utf-8",
    text: script,
    policy: "default-src 'none'; frame-ancestors 'none'",
  },
  {
    path: "/dashboard/style.css",
    operationId: "getDashboardStyle",
    summary: "The dashboard's style sheet",
    mediaType: "text/css; charset=utf-8",
    text: style,
    policy: "default-src 'none'; frame-ancestors 'none'",
  },
  {
    path: "/dashboard/icon.svg",
    operationId: "getDashboardIcon",
    summary: "The dashboard's icon",
    mediaType: "image/svg+xml",
    text: icon,
    policy: "default-src 'none'; frame-ancestors 'none'",
  },
];

/** Routes of the dashboard. */
export function dashboardRoutes(): Route[] {
  return ASSETS.map(assetRoute);
}

function assetRoute({ path, operationId, summary, mediaType, text, policy }: Asset): Route {
  const body = new TextEncoder().encode(text);
  const tag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 27)}"`;
  const headers = { ...guardedHeaders(policy), etag: tag };
  return defineRoute({
    method: "GET",
    path,
    operationId,
    tag: TAG,
    summary,
    open: true,
    acceptAnything: true,
    requestHeaders: { "If-None-Match": "The `ETag` of what the caller has." },
    responses: {
      200: { description: "It", otherTypes: { [mediaType.split(";")[0]!]: summary } },
      304: { description: "The caller has it" },
    },
    handler: ({ request }) => {
      const known = request.headers.get("if-none-match")?.split(",") ?? [];
      if (known.some((one) => one.trim().replace(/^W\//, "") === tag)) {
        return new Response(null, { status: 304, headers });
      }
      return { headers, bytes: { mediaType, body } };
    },
  });
}
