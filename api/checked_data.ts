// Owns checking data from outside against a schema, and parsing a body to that end.
// Refuses to own the schemas and where the bytes come from.
// Invariant: what is returned has passed its schema; what has not is INVALID_REQUEST with the paths of its faults.
import type { z } from "zod";
import { parseBody } from "./body.ts";
import type { ApiLimits } from "./limits.ts";
import { type Fault, type InspectOptions, invalidRequest, pathText } from "./plain_data.ts";

/** Faults told of one request; the rest repeats itself. */
const MAX_FAULTS = 20;
const UNKNOWN_FIELD = "is not a field that is known here";

/** `data` as `schema` puts it out. Throws INVALID_REQUEST. */
export function checked(schema: z.ZodType, data: unknown): unknown {
  const result = schema.safeParse(data);
  if (result.success) return result.data;
  const faults = result.error.issues.slice(0, MAX_FAULTS).flatMap(faultsOf);
  throw invalidRequest(faults.slice(0, MAX_FAULTS));
}

/** A schema finds unknown fields at the object that has them; a caller looks for the fields. */
function faultsOf(issue: z.core.$ZodIssue): Fault[] {
  const meant = issue.code === "invalid_union" ? meantOf(issue) : null;
  if (meant !== null) return meant.flatMap(faultsOf);
  if (issue.code !== "unrecognized_keys") {
    return [{ path: pathText(issue.path), message: issue.message }];
  }
  const message = issue.message.startsWith("Unrecognized key") ? UNKNOWN_FIELD : issue.message;
  return issue.keys.slice(0, MAX_FAULTS)
    .map((key) => ({ path: pathText([...issue.path, key]), message }));
}

/** The checked data of a JSON or MessagePack body. Throws INVALID_REQUEST, REQUEST_TOO_LARGE. */
export function checkedBytes(
  bytes: Uint8Array,
  mediaType: string,
  options: {
    readonly schema: z.ZodType;
    readonly limits: ApiLimits;
    readonly freeFormAt?: InspectOptions["freeFormAt"];
  },
): unknown {
  const { schema, limits, freeFormAt } = options;
  const data = parseBody(bytes, mediaType, {
    maxDepth: limits.maxDepth,
    maxNodes: limits.maxNodes,
    maxItems: limits.maxItemsPerList,
    maxKeys: limits.maxFieldsPerObject,
    ...(freeFormAt === undefined ? {} : { freeFormAt }),
  });
  return checked(schema, data);
}

/** What is wrong with the one variant whose fields were given, null where that is none or several of them. */
function meantOf({ path, errors }: z.core.$ZodIssueInvalidUnion): z.core.$ZodIssue[] | null {
  const meant = errors.filter((issues) =>
    issues.length > 0 && issues.every((issue) => issue.path.length > 0 && !isOfAnother(issue))
  );
  if (meant.length !== 1) return null;
  return meant[0]!.map((issue) => ({ ...issue, path: [...path, ...issue.path] }));
}

/** A field that is not there, or one that should not be, tells that another variant is meant. */
function isOfAnother(issue: z.core.$ZodIssue): boolean {
  if (issue.code === "unrecognized_keys") return true;
  if (issue.code === "invalid_union") {
    return issue.errors.every((issues) => issues.some(isOfAnother));
  }
  return issue.message.endsWith("received undefined");
}
