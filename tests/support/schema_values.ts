// Owns making values that a JSON Schema of the OpenAPI document allows, or nearly: words that mean something come often.
// Refuses to own spoiling them (hostile_bytes.ts). Invariant: what comes out depends on fast-check's choices alone.
import fc from "fast-check";
import type { JsonObject } from "../../api/openapi.ts";

/** Values that fields and parameters of these names often have, whatever their schema says. */
export type Vocabulary = Readonly<Record<string, readonly unknown[]>>;

export interface SchemaContext {
  readonly schemas: Readonly<Record<string, JsonObject>>;
  readonly vocabulary: Vocabulary;
}

const NAME_CHARS = [..."abcXYZ019._-"];
const MAX_ITEMS = 4;
const MAX_TEXT_CHARS = 12;
/** Vocabulary to made-up values. */
const KNOWN_WEIGHT = 5;

/** Values of `schema`; `name` is that of the field or parameter they stand in. */
export function valuesOf(
  schema: JsonObject,
  name: string,
  context: SchemaContext,
): fc.Arbitrary<unknown> {
  const made = madeOf(schema, name, context);
  const known = context.vocabulary[name];
  if (known === undefined || schema.type === "array" || schema.type === "object") return made;
  return fc.oneof(
    { weight: KNOWN_WEIGHT, arbitrary: fc.constantFrom(...known) },
    { weight: 1, arbitrary: made },
  );
}

function madeOf(schema: JsonObject, name: string, context: SchemaContext): fc.Arbitrary<unknown> {
  if (typeof schema.$ref === "string") {
    const id = schema.$ref.slice(schema.$ref.lastIndexOf("/") + 1);
    return valuesOf(context.schemas[id]!, name, context);
  }
  if ("const" in schema) return fc.constant(schema.const);
  if (Array.isArray(schema.enum)) return fc.constantFrom(...schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(choices)) {
    return fc.oneof(...choices.map((choice) => valuesOf(choice, name, context)));
  }
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  return fc.oneof(...types.map((type) => ofType(type, schema, { name, context })));
}

function ofType(
  type: unknown,
  schema: JsonObject,
  at: { name: string; context: SchemaContext },
): fc.Arbitrary<unknown> {
  switch (type) {
    case "null":
      return fc.constant(null);
    case "boolean":
      return fc.boolean();
    case "integer":
      return numbers(schema, true);
    case "number":
      return numbers(schema, false);
    case "string":
      return texts(schema);
    case "array":
      return fc.array(valuesOf((schema.items ?? {}) as JsonObject, at.name, at.context), {
        minLength: Math.min(Number(schema.minItems ?? 0), MAX_ITEMS),
        maxLength: Math.min(Number(schema.maxItems ?? MAX_ITEMS), MAX_ITEMS),
      });
    case "object":
      return objects(schema, at.context);
    case undefined:
      return fc.jsonValue({ maxDepth: 2 });
    default:
      throw new Error(`no values of type ${type} are known`);
  }
}

function numbers(schema: JsonObject, whole: boolean): fc.Arbitrary<number> {
  const min = Number(schema.minimum ?? schema.exclusiveMinimum ?? Number.MIN_SAFE_INTEGER);
  const max = Number(schema.maximum ?? schema.exclusiveMaximum ?? Number.MAX_SAFE_INTEGER);
  const edges = fc.constantFrom(min, max);
  if (!whole) {
    return fc.oneof({ weight: 2, arbitrary: fc.double({ min, max, noNaN: true }) }, edges);
  }
  const near = fc.integer({ min, max: Math.min(max, min + 20) });
  return fc.oneof({ weight: 4, arbitrary: near }, edges, fc.integer({ min, max }));
}

function texts(schema: JsonObject): fc.Arbitrary<string> {
  const minLength = Number(schema.minLength ?? (schema.pattern === undefined ? 0 : 1));
  const maxLength = Math.max(
    minLength,
    Math.min(Number(schema.maxLength ?? MAX_TEXT_CHARS), MAX_TEXT_CHARS),
  );
  const plain = fc.string({ unit: fc.constantFrom(...NAME_CHARS), minLength, maxLength });
  if (schema.pattern !== undefined) return plain;
  return fc.oneof(plain, fc.string({ unit: "grapheme", minLength, maxLength }));
}

function objects(schema: JsonObject, context: SchemaContext): fc.Arbitrary<unknown> {
  const properties = (schema.properties ?? {}) as Record<string, JsonObject>;
  const rest = schema.additionalProperties;
  const fields = Object.fromEntries(
    Object.entries(properties).map(([name, field]) => [name, valuesOf(field, name, context)]),
  );
  const requiredKeys = (schema.required ?? []) as string[];
  const made = fc.record(fields, { requiredKeys, noNullPrototype: true });
  if (typeof rest !== "object" || rest === null) return made;
  const key = fc.string({ unit: fc.constantFrom(...NAME_CHARS), minLength: 1, maxLength: 5 });
  const values = valuesOf(rest as JsonObject, "", context);
  const more = fc.dictionary(key, values, { maxKeys: 3, noNullPrototype: true });
  return fc.tuple(made, more).map(([named, others]) => ({ ...others, ...named }));
}
