// Owns the documentation page: the OpenAPI document as HTML, whole, without anything from elsewhere.
// Refuses to own any fact about the API: all of it comes from the document and the table of codes.
// Invariant: every operation, schema and error code of the document is on the page and can be linked to.
import { ERROR_CODES } from "../../storage/broker_error.ts";
import type { JsonObject, OpenApiDocument, OpenApiOperation } from "../openapi.ts";
import { titleOf } from "../problem.ts";
import { Html, html, paragraphs, prose } from "./html.ts";
import { fieldRow, schemaTable, typeOf } from "./schema_view.ts";
import { STYLE } from "./style.ts";

interface Endpoint {
  readonly method: string;
  readonly path: string;
  readonly operation: OpenApiOperation;
}

/** The page as HTML text. */
export function documentationPage(document: OpenApiDocument): string {
  const endpoints = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method, path, operation }))
  );
  const groups = document.tags.map(({ name }) => ({
    name,
    endpoints: endpoints.filter(({ operation }) => operation.tags.includes(name)),
  }));
  return html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>${document.info.title} ${document.info.version} · HTTP API</title>
        <style>${new Html(STYLE)}</style>
      </head>
      <body>
        <div class="layout">
    ${navigation(groups)}
    <main>${introduction(document)}
    ${groups.map(groupSection)}
    ${errorSection()}
    ${schemaSection(document)}
    </main></div>
      </body>
    </html>
  `.text.trimStart();
}

interface Group {
  readonly name: string;
  readonly endpoints: readonly Endpoint[];
}

function navigation(groups: readonly Group[]): Html {
  return html`<nav aria-label="Contents"><a href="#top"><strong>Waybill</strong></a>
${
    groups.map(({ name, endpoints }) =>
      html`
        <h2>${name}</h2>
        <ul>${endpoints.map(navigationItem)}</ul>
      `
    )
  }<h2>Reference</h2><ul><li><a href="#errors">Error codes</a></li>
<li><a href="#schemas">Schemas</a></li><li><a href="/openapi.json">OpenAPI document</a></li></ul></nav>`;
}

function navigationItem({ method, operation }: Endpoint): Html {
  return html`<li>${
    methodMark(method)
  }<a href="#${operation.operationId}">${operation.summary}</a></li>`;
}

function methodMark(method: string): Html {
  return html`<span class="method ${method}">${method.toUpperCase()}</span>`;
}

function introduction({ info }: OpenApiDocument): Html {
  return html`
    <header id="top">
      <h1>${info.title} <span class="tag">${info.version}</span></h1>
      <p>${info.description}</p>
      <p>Bodies are JSON, or MessagePack by <code>Content-Type</code> and <code>Accept</code>
    (<code>application/msgpack</code>). Errors are problem details (RFC 9457) with a stable
    <a href="#errors">code</a>. Every response carries <code>x-request-id</code>. Where a credential is
    configured, send <code>Authorization: Bearer</code> with it.</p>
    </header>
  `;
}

function groupSection({ name, endpoints }: Group): Html {
  return html`<h2>${name}</h2>
${endpoints.map(operationArticle)}`;
}

function operationArticle(endpoint: Endpoint): Html {
  const { method, path, operation } = endpoint;
  const parts = path.split(/(\{\w+\})/).map((part, index) =>
    index % 2 === 1 ? html`<b>${part}</b>` : html`${part}`
  );
  return html`
    <article id="${operation.operationId}"><h3>${operation.summary}</h3>
    <div class="endpoint">${methodMark(method)}<span class="path">${parts}</span>
    ${operation.security?.length === 0 && html`<span class="tag">no credential</span>`}</div>
    ${operation.description !== undefined && paragraphs(operation.description)}
    ${parameterTable(operation)}
    ${bodySection(operation)}
    <h4>Example</h4><pre><code>${curlOf(endpoint)}</code></pre>
    <h4>Responses</h4>${Object.entries(operation.responses).map(responseDetails)}
    </article>
  `;
}

function parameterTable({ parameters }: OpenApiOperation): Html | null {
  if (parameters === undefined) return null;
  const rows = parameters.map(({ name, required, description, schema, in: place }) => {
    const where = place === "query" ? "" : ` (${place})`;
    const shown = description === undefined ? schema : { ...schema, description };
    return fieldRow(name + where, shown, required);
  });
  return html`
    <h4>Parameters</h4>
    <div class="scroll">
      <table>
        <tbody>${rows}</tbody>
      </table>
    </div>
  `;
}

function bodySection({ requestBody }: OpenApiOperation): Html | null {
  if (requestBody === undefined) return null;
  const [mediaType, media] = Object.entries(requestBody.content)[0]!;
  const schema = media.schema as JsonObject | undefined;
  return html`<h4>Body</h4>
${
    schema === undefined
      ? html`<p><code>${mediaType}</code>: ${requestBody.description}</p>`
      : html`${
        typeof schema.$ref === "string" ? html`<p>${typeOf(schema)}</p>` : schemaTable(schema)
      }`
  }`;
}

function responseDetails(
  [status, response]: [string, OpenApiOperation["responses"][string]],
): Html {
  const media = Object.entries(response.content ?? {});
  if (status >= "400") {
    const codes = response.description.split(", ").map((code) =>
      code in ERROR_CODES
        ? html`
          <a href="#${code}"><code>${code}</code></a>
        `
        : html`
          ${code}
        `
    );
    return html`<div><span class="status">${status}</span> ${codes}</div>`;
  }
  const shown = media.filter(([, { schema }]) => schema !== undefined);
  if (shown.length === 0) {
    return html`<div><span class="status">${status}</span> ${prose(response.description)}</div>`;
  }
  return html`<details><summary><span class="status">${status}</span> ${
    prose(response.description)
  }</summary>
${
    shown.filter(([type]) => !type.includes("msgpack")).map(([type, content]) =>
      mediaView(type, content)
    )
  }
${headerTable(response.headers)}</details>`;
}

function mediaView(type: string, content: JsonObject): Html {
  const schema = content.schema as JsonObject;
  if (schema.properties !== undefined) {
    return html`<p><code>${type}</code></p>${schemaTable(schema)}${exampleOf(content.example)}`;
  }
  const what = schema.type === "string" ? html`${schema.description as string}` : typeOf(schema);
  return html`<p><code>${type}</code>: ${what}</p>${exampleOf(content.example)}`;
}

function headerTable(headers: OpenApiOperation["responses"][string]["headers"]): Html | null {
  if (headers === undefined) return null;
  const rows = Object.entries(headers).map(([name, header]) => fieldRow(name, header, false));
  return html`
    <table>
      <tbody>${rows}</tbody>
    </table>
  `;
}

function exampleOf(example: unknown): Html | null {
  if (example === undefined) return null;
  return html`<pre><code>${JSON.stringify(example, null, 2)}</code></pre>`;
}

/** A command that can be pasted, with sample values where the path has parameters. */
function curlOf({ method, path, operation }: Endpoint): string {
  const url = path.replaceAll(/\{(\w+)\}/g, (_whole, name: string) => {
    const parameter = operation.parameters?.find((candidate) => candidate.name === name);
    const examples = parameter?.schema.examples;
    return Array.isArray(examples) ? String(examples[0]) : `$${name.toUpperCase()}`;
  });
  const lines = [`curl${method === "get" ? "" : ` -X ${method.toUpperCase()}`} "$WAYBILL${url}"`];
  const content = operation.requestBody?.content;
  if (content !== undefined) {
    const [type, media] = Object.entries(content)[0]!;
    lines.push(`-H 'content-type: ${type}'`);
    if (media.example !== undefined) lines.push(`-d '${JSON.stringify(media.example)}'`);
    else if (media.schema === undefined) lines.push("--data-binary @batches.bin");
  }
  return lines.join(" \\\n  ");
}

function errorSection(): Html {
  const rows = Object.entries(ERROR_CODES).map(([code, { httpStatus, retryable }]) =>
    html`
      <tr id="${code}">
        <td class="name">${code}</td>
        <td>${httpStatus}</td>
        <td>${retryable ? "yes" : "no"}</td>
        <td>${titleOf(code)}</td>
      </tr>
    `
  );
  return html`
    <h2 id="errors">Error codes</h2>
    <p>Programs branch on <code>code</code>, never on texts. A route may give a code another status; it says so.</p>
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th>Code</th>
            <th>Status</th>
            <th>Retry helps</th>
            <th>Title</th>
          </tr>
        </thead>
        <tbody>${rows}</tbody>
      </table>
    </div>
  `;
}

function schemaSection({ components }: OpenApiDocument): Html {
  const articles = Object.entries(components.schemas).map(([name, schema]) =>
    html`
      <article id="schema-${name}"><h3>${name}</h3>
      ${typeof schema.description === "string" && paragraphs(schema.description)}
      ${schemaTable(schema)}${exampleOf((schema.examples as unknown[] | undefined)?.[0])}</article>
    `
  );
  return html`<h2 id="schemas">Schemas</h2>
${articles}`;
}
