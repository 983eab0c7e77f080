// Owns the chain of audit entries: their canonical form, their hashes, and what follows what.
// Refuses to own where they are kept (audit_log.ts). Pure.
// Invariant: the hash of an entry pins every entry before it; one entry has one canonical form, byte by byte.
import { createHash } from "node:crypto";
import type { AuditEntry, AuditFacts, AuditHead, AuditOutcome } from "./types.ts";

/** What the first entry of all comes after. */
export const GENESIS: AuditHead = Object.freeze({ sequence: 0, hash: "0".repeat(64) });
/** JSON of `before` and of `after`, each; what is longer is named by its size and digest. */
const MAX_DETAIL_CHARS = 16_384;

/** An entry before it is chained. */
export interface AuditDraft {
  readonly facts: AuditFacts;
  readonly outcome: AuditOutcome;
  readonly code: string | null;
  readonly intent: number | null;
}

/** The entry that `draft` becomes after `head`. */
export function chained(
  head: AuditHead,
  draft: AuditDraft,
  { at, leaderEpoch }: { at: number; leaderEpoch: number },
): AuditEntry {
  const { facts, outcome, code, intent } = draft;
  const { actor, tenant, remoteAddress, action, resource, reason, requestId } = facts;
  const unsealed = {
    version: 1 as const,
    sequence: head.sequence + 1,
    at,
    actor,
    tenant,
    remoteAddress,
    action,
    resource: resource === null ? null : { type: resource.type, name: resource.name },
    outcome,
    code,
    intent,
    before: boundedDetail(facts.before),
    after: boundedDetail(facts.after),
    reason,
    requestId,
    leaderEpoch,
    previousHash: head.hash,
  };
  return { ...unsealed, hash: hashOf(unsealed) };
}

/** SHA-256 of the canonical JSON of `entry` without its own hash. */
export function hashOf(entry: Omit<AuditEntry, "hash">): string {
  const { hash: _, ...unsealed } = entry as AuditEntry;
  return sha256(canonicalJson(unsealed));
}

/** What is kept of plain data: itself, or its size and digest when it is long. Undefined is null. */
export function boundedDetail(value: unknown): unknown {
  if (value === undefined || value === null) return null;
  const text = canonicalJson(value);
  if (text.length <= MAX_DETAIL_CHARS) return JSON.parse(text);
  return { omitted: "too long", characters: text.length, sha256: sha256(text) };
}

/**
 * JSON without spaces, the names of every object in the order of their UTF-16 units (as RFC 8785 has it). Bytes are base64;
 * what JSON does not know is null or left out, as JSON.stringify does.
 */
export function canonicalJson(value: unknown): string {
  if (value instanceof Uint8Array) return JSON.stringify(value.toBase64());
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const fields = value as Record<string, unknown>;
    const named = Object.keys(fields).filter((name) => fields[name] !== undefined).sort();
    const shown = named.map((name) => `${JSON.stringify(name)}:${canonicalJson(fields[name])}`);
    return `{${shown.join(",")}}`;
  }
  if (typeof value === "bigint") return String(value);
  return JSON.stringify(value) ?? "null";
}

/** Why `entry` does not follow `head`; null when it does. */
export function brokenLink(head: AuditHead, entry: AuditEntry): string | null {
  const { sequence, previousHash, hash } = entry;
  if (sequence > head.sequence + 1) {
    return `entries ${head.sequence + 1} to ${sequence - 1} are missing`;
  }
  if (sequence <= head.sequence) {
    return `entry ${sequence} comes again after entry ${head.sequence}`;
  }
  if (previousHash !== head.hash) return `it does not follow the entry before it`;
  if (hash !== hashOf(entry)) return `its content does not have its hash`;
  return null;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
