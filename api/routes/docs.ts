// Owns serving the documentation: the OpenAPI document, the page made from it, and the way there from `/`.
// Refuses to own both contents (openapi.ts, docs/).
// Invariant: the page loads and runs nothing: its content security policy allows its own style sheet alone.
import { createHash } from "node:crypto";
import { z } from "zod";
import { documentationPage } from "../docs/page.ts";
import { STYLE } from "../docs/style.ts";
import type { OpenApiDocument } from "../openapi.ts";
import { guardedHeaders } from "../page_headers.ts";
import { defineRoute, type Route, type RouteModule } from "../route.ts";

const TAG = "Documentation";
const PAGE_TYPE = "text/html; charset=utf-8";

/** Nothing from elsewhere, no script, no frame; of style sheets `style` alone, inline. */
function pageHeaders(style: string): Record<string, string> {
  const styleHash = createHash("sha256").update(style).digest("base64");
  const policy = `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; ` +
    "form-action 'none'; frame-ancestors 'none'";
  return { "content-type": PAGE_TYPE, ...guardedHeaders(policy) };
}

/** Routes of the documentation; the document is made when it is first asked for. */
export function documentationRoutes(makeDocument: () => OpenApiDocument): RouteModule {
  let document: OpenApiDocument | undefined;
  let page: Uint8Array<ArrayBuffer> | undefined;
  const documentOnce = () => document ??= makeDocument();
  const headers = pageHeaders(STYLE);
  return (): Route[] => [
    defineRoute({
      method: "GET",
      path: "/openapi.json",
      operationId: "getOpenApiDocument",
      tag: TAG,
      summary: "This API as an OpenAPI 3.1 document",
      open: true,
      responses: {
        200: { description: "The document", schema: z.looseObject({ openapi: z.string() }) },
      },
      handler: () => ({ data: documentOnce() }),
    }),
    defineRoute({
      method: "GET",
      path: "/docs",
      operationId: "getDocumentation",
      tag: TAG,
      summary: "This API as a page",
      open: true,
      acceptAnything: true,
      responses: {
        200: { description: "The page", otherTypes: { "text/html": "The documentation." } },
      },
      handler: () => {
        const body = page ??= new TextEncoder().encode(documentationPage(documentOnce()));
        return { headers, bytes: { mediaType: PAGE_TYPE, body } };
      },
    }),
    defineRoute({
      method: "GET",
      path: "/",
      operationId: "getRoot",
      tag: TAG,
      summary: "To the documentation",
      open: true,
      acceptAnything: true,
      responses: { 302: { description: "To /docs" } },
      handler: () => new Response(null, { status: 302, headers: { location: "/docs" } }),
    }),
  ];
}
