// Owns what a metadata key, value and transaction may be, for every MetadataStore alike, and the order of keys.
// Refuses to depend on a store: the bounds are named here so that what works in memory works in Deno KV.
// Invariant: what passes these checks is below Deno KV's own limits (2 KiB a key, 64 KiB a value, 100 checks,
// 1,000 mutations, 80 KiB of keys and 800 KiB in all for one atomic), with what the store adds to each.
import {
  MAX_KEY_BYTES,
  MAX_TRANSACTION_CHECKS,
  MAX_TRANSACTION_MUTATIONS,
  MAX_VALUE_BYTES,
  type MetadataKey,
  type MetadataTransaction,
  type MetadataValue,
} from "./metadata.ts";

/** Sets with a lease in one transaction: each needs two mutations. */
export const MAX_LEASED_SETS = 100;
/** Keys of all sets and deletes of one transaction together; a key set with a lease counts twice. */
export const MAX_TRANSACTION_KEY_BYTES = 60_000;
/** Values of all sets of one transaction together, as JSON. */
export const MAX_TRANSACTION_VALUE_BYTES = 650_000;

const utf8 = new TextEncoder();

/** Size of a key: of each part its UTF-8 bytes and two more. */
export function keyBytes(key: MetadataKey): number {
  return key.reduce((sum, part) => sum + utf8.encode(part).length + 2, 0);
}

/** Throws a plain Error unless `key` has parts, all of them not empty, well-formed and without NUL, and fits. */
export function checkKey(key: MetadataKey): void {
  if (key.length === 0) throw new Error("a metadata key needs at least one part");
  checkPrefix(key);
}

/** As `checkKey`; the empty prefix is allowed. */
export function checkPrefix(key: MetadataKey): void {
  for (const part of key) {
    if (part === "" || part.includes("\0") || !part.isWellFormed()) {
      throw new Error(`not a part of a metadata key: ${JSON.stringify(part.slice(0, 100))}`);
    }
  }
  const sizeBytes = keyBytes(key);
  if (sizeBytes > MAX_KEY_BYTES) {
    throw new Error(`metadata key ${shown(key)} is ${sizeBytes} bytes, at most ${MAX_KEY_BYTES}`);
  }
}

/** `value` as UTF-8 JSON. Throws a plain Error when it has no JSON or too much. */
export function encodeValue(key: MetadataKey, value: MetadataValue): Uint8Array<ArrayBuffer> {
  const json: string | undefined = JSON.stringify(value);
  if (json === undefined) throw new Error(`the value of metadata key ${shown(key)} is not JSON`);
  const bytes = utf8.encode(json);
  if (bytes.length > MAX_VALUE_BYTES) {
    throw new Error(
      `the value of metadata key ${
        shown(key)
      } is ${bytes.length} bytes, at most ${MAX_VALUE_BYTES}`,
    );
  }
  return bytes;
}

/** A set whose value is encoded. */
export interface EncodedSet {
  readonly key: MetadataKey;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly leaseId: string | null;
}

/**
 * The sets of `transaction`, encoded. Throws a plain Error when a key or value is refused, a key is changed twice,
 * or the whole is over a bound. Leases count as checks.
 */
export function encodeTransaction(transaction: MetadataTransaction): EncodedSet[] {
  const { checks, sets = [], deletes = [] } = transaction;
  const leases = new Set(sets.flatMap((set) => set.leaseId ?? []));
  atMost(MAX_TRANSACTION_CHECKS, checks.length + leases.size, "checks and leases");
  atMost(MAX_TRANSACTION_MUTATIONS, sets.length + deletes.length, "sets and deletes");
  atMost(MAX_LEASED_SETS, sets.filter((set) => set.leaseId !== undefined).length, "leased sets");
  for (const { key } of checks) checkKey(key);
  let totalKeyBytes = 0;
  const changed = new Set<string>();
  const change = (key: MetadataKey, times: number) => {
    checkKey(key);
    totalKeyBytes += keyBytes(key) * times;
    const name = keyName(key);
    if (changed.has(name)) throw new Error(`metadata key ${shown(key)} is changed twice at once`);
    changed.add(name);
  };
  for (const key of deletes) change(key, 1);
  const encoded = sets.map(({ key, value, leaseId }) => {
    change(key, leaseId === undefined ? 1 : 2);
    return { key: [...key], bytes: encodeValue(key, value), leaseId: leaseId ?? null };
  });
  const totalValueBytes = encoded.reduce((sum, set) => sum + set.bytes.length, 0);
  atMost(MAX_TRANSACTION_KEY_BYTES, totalKeyBytes, "bytes of keys");
  atMost(MAX_TRANSACTION_VALUE_BYTES, totalValueBytes, "bytes of values");
  return encoded;
}

/** One string a key, equal for equal keys only. */
export function keyName(key: MetadataKey): string {
  return key.join("\0");
}

/** Whether `key` lies below `prefix`; no key lies below itself. */
export function isKeyBelow(prefix: MetadataKey, key: MetadataKey): boolean {
  return key.length > prefix.length && prefix.every((part, index) => part === key[index]);
}

/** Order of keys: part by part, by UTF-8 bytes; a prefix comes before what lies below it. */
export function compareKeys(a: MetadataKey, b: MetadataKey): number {
  for (let index = 0; index < a.length && index < b.length; index++) {
    const order = compareText(a[index]!, b[index]!);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

/** UTF-8 order is code point order, which UTF-16 units do not have beyond U+FFFF. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  const left = utf8.encode(a);
  const right = utf8.encode(b);
  for (let index = 0; index < left.length && index < right.length; index++) {
    if (left[index] !== right[index]) return left[index]! - right[index]!;
  }
  return left.length - right.length;
}

function atMost(limit: number, count: number, what: string): void {
  if (count > limit) {
    throw new Error(`a metadata transaction with ${count} ${what} is too large: at most ${limit}`);
  }
}

function shown(key: MetadataKey): string {
  return JSON.stringify(key).slice(0, 200);
}
