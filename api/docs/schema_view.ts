// Owns showing a JSON Schema of the OpenAPI document as rows that people read.
// Refuses to own the page around it.
// Invariant: a reference is shown as a link to the schema's own section, so that nothing is nested without end.
import type { JsonObject } from "../openapi.ts";
import { type Html, html, prose } from "./html.ts";

const REFERENCE = "#/components/schemas/";

/** `array of Message`, `integer`, `text or null`, with links to named schemas. */
export function typeOf(schema: JsonObject): Html {
  const reference = schema.$ref;
  if (typeof reference === "string") {
    const name = reference.slice(REFERENCE.length);
    return html`<a href="#schema-${name}">${name}</a>`;
  }
  const variants = (schema.anyOf ?? schema.oneOf ?? schema.allOf) as JsonObject[] | undefined;
  if (variants !== undefined) return joined(variants.map(typeOf), " or ");
  if (Array.isArray(schema.enum)) {
    return joined(schema.enum.map((value) => html`<code>${String(value)}</code>`), " | ");
  }
  if (schema.const !== undefined) return html`<code>${JSON.stringify(schema.const)}</code>`;
  if (schema.type === "array") return html`array of ${typeOf(schema.items as JsonObject ?? {})}`;
  const values = schema.additionalProperties;
  if (schema.type === "object" && typeof values === "object" && schema.properties === undefined) {
    return html`object of ${typeOf(values as JsonObject)}`;
  }
  return html`${typeof schema.type === "string" ? schema.type : "any"}`;
}

function joined(parts: readonly Html[], separator: string): Html {
  return parts.reduce((all, part) => html`${all}${separator}${part}`);
}

/** Bounds and default in words; empty when there are none. */
export function boundsOf(schema: JsonObject): string {
  const words: string[] = [];
  const { minimum, maximum, exclusiveMinimum, minLength, maxLength, minItems, maxItems } = schema;
  if (exclusiveMinimum !== undefined) words.push(`above ${exclusiveMinimum}`);
  // Integers without bounds of their own are told with those of a double, which says nothing.
  const least = minimum === Number.MIN_SAFE_INTEGER ? undefined : minimum;
  const most = least === undefined && maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  if (least !== undefined && most !== undefined) words.push(`${least} to ${limit(most)}`);
  else if (least !== undefined) words.push(`at least ${least}`);
  else if (most !== undefined) words.push(`at most ${limit(most)}`);
  if (minLength !== undefined) words.push(`at least ${minLength} characters`);
  if (maxLength !== undefined) words.push(`at most ${maxLength} characters`);
  if (minItems !== undefined) words.push(`at least ${minItems}`);
  if (maxItems !== undefined) words.push(`at most ${maxItems}`);
  if (schema.pattern !== undefined) words.push(`matches ${schema.pattern}`);
  if (schema.default !== undefined) words.push(`default ${JSON.stringify(schema.default)}`);
  return words.join("; ");
}

function limit(value: unknown): string {
  return value === Number.MAX_SAFE_INTEGER ? "2^53 - 1" : String(value);
}

/** Properties of an object schema as a table; for anything else its type. */
export function schemaTable(schema: JsonObject): Html {
  const properties = schema.properties as Record<string, JsonObject> | undefined;
  if (properties === undefined) return html`<p>${typeOf(schema)}</p>`;
  const required = new Set(schema.required as string[] | undefined);
  const rows = Object.entries(properties).map(([name, property]) =>
    fieldRow(name, property, required.has(name))
  );
  return html`
    <div class="scroll">
      <table>
        <tbody>${rows}</tbody>
      </table>
    </div>
  `;
}

/** One row: name, type, what it is. */
export function fieldRow(name: string, schema: JsonObject, required: boolean): Html {
  const bounds = boundsOf(schema);
  const nested = nestedObject(schema);
  return html`
    <tr>
      <td class="name">${name}${required && html`
        <i>required</i>
      `}</td>
      <td class="type">${typeOf(schema)}</td>
      <td>${prose(String(schema.description ?? ""))}${bounds !== "" && html`
        <span class="bounds">${bounds}</span>
      `}
    ${nested !== null &&
      html`<details><summary>fields</summary>${schemaTable(nested)}</details>`}</td>
    </tr>
  `;
}

/** An unnamed object, or an array of them, has no section of its own: its fields are shown in place. */
function nestedObject(schema: JsonObject): JsonObject | null {
  if (schema.properties !== undefined) return schema;
  if (schema.type === "array") return nestedObject(schema.items as JsonObject ?? {});
  const variants = (schema.anyOf ?? schema.oneOf) as JsonObject[] | undefined;
  return variants?.map(nestedObject).find((found) => found !== null) ?? null;
}
