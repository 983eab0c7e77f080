// Owns what the audit column of the access table says: which requests of a route are audited, and as what.
// Refuses to own writing entries (request_audit.ts) and the table itself (../auth/access_table.ts).
// Invariant: a request that changes nothing, a dry run above all, is no entry.
import type { AuditResource } from "../../actors/audit/types.ts";
import type { AccessEntry, AccessInput } from "../auth/access_entry.ts";

/** What a request is, before it is carried out. */
export interface AuditedChange {
  readonly resource: AuditResource | null;
  /** What was asked for: default, the body. */
  readonly asked?: unknown;
}

export interface AuditRule {
  /** `topic.create` */
  readonly action: string;
  /** Null: this request is not audited. */
  readonly change: (input: AccessInput) => AuditedChange | null;
  /**
   * True: the handler says when (`context.intend`), once it knows that the caller may do this at all; else the intent is
   * written before the handler runs.
   */
  readonly late: boolean;
}

/** A route that changes nothing an audit asks for: messages, and consuming them. */
export const DATA_PLANE = "data plane";

export type AuditColumn = AuditRule | typeof DATA_PLANE;

/** `entry`, audited as `action` on what `resource` finds in the input. */
export function audited<Input extends AccessInput>(
  entry: AccessEntry,
  action: string,
  resource: (input: Input) => AuditResource | null,
  options: { late?: boolean; when?: (input: Input) => boolean } = {},
): AccessEntry {
  const { late = false, when = () => true } = options;
  const change = (input: AccessInput): AuditedChange | null => {
    if (isDryRun(input) || !when(input as Input)) return null;
    return { resource: resource(input as Input) };
  };
  return { ...entry, audit: { action, change, late } };
}

/** `entry`, of a route that is no change of the broker. */
export function dataPlane(entry: AccessEntry): AccessEntry {
  return { ...entry, audit: DATA_PLANE };
}

/** Every one of `table` is of the data plane. */
export function allDataPlane(
  table: Readonly<Record<string, AccessEntry>>,
): Readonly<Record<string, AccessEntry>> {
  return Object.fromEntries(
    Object.entries(table).map(([name, entry]) => [name, entry.audit ? entry : dataPlane(entry)]),
  );
}

/** The resource that a path names: `ofPath("topic")` for `{topic}`. */
export function ofPath(type: string, parameter: string = type) {
  return ({ params }: AccessInput): AuditResource => {
    return { type, name: String((params as Record<string, unknown>)[parameter]) };
  };
}

/** The resource that a field of the body names. */
export function ofBody(type: string, field: string = type) {
  return ({ body }: AccessInput): AuditResource => {
    return { type, name: String((body as Record<string, unknown>)[field]) };
  };
}

function isDryRun({ body }: AccessInput): boolean {
  return typeof body === "object" && body !== null && "dryRun" in body && body.dryRun === true;
}
