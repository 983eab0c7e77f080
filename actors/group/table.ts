// Owns a small persistent map from strings, for state that changes one entry at a time thousands of times a second.
// Refuses to own what is kept in it.
// Invariant: plain JSON, never changed in place; a change copies one bucket and the list of buckets, nothing else.

type Bucket<T> = readonly (readonly [string, T])[];

/** Entries by key. The same changes in the same order make equal tables. */
export interface Table<T> {
  readonly size: number;
  /** A power of two of them, at least one. */
  readonly buckets: readonly Bucket<T>[];
}

const MAX_BUCKET_ENTRIES = 16;
const MAX_BUCKETS = 1_024;

const EMPTY: Table<never> = Object.freeze({ size: 0, buckets: Object.freeze([Object.freeze([])]) });

export function emptyTable<T>(): Table<T> {
  return EMPTY;
}

/** FNV-1a over the code units, with its high bits folded in: ids that differ at their end only spread well. */
function bucketOf(key: string, buckets: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  hash ^= hash >>> 15;
  return hash & (buckets - 1);
}

/** By index, not by destructuring: this is the innermost loop of every command. */
function indexIn<T>(bucket: Bucket<T>, key: string): number {
  for (let i = 0; i < bucket.length; i++) if (bucket[i]![0] === key) return i;
  return -1;
}

export function lookUp<T>(table: Table<T>, key: string): T | undefined {
  const bucket = table.buckets[bucketOf(key, table.buckets.length)]!;
  const at = indexIn(bucket, key);
  return at === -1 ? undefined : bucket[at]![1];
}

export function holds<T>(table: Table<T>, key: string): boolean {
  return lookUp(table, key) !== undefined;
}

/** The table with `value` under `key`, in place of what was there. `undefined` is not a value. */
export function put<T>(table: Table<T>, key: string, value: T): Table<T> {
  const at = bucketOf(key, table.buckets.length);
  const bucket = table.buckets[at]!;
  const known = indexIn(bucket, key);
  if (known === -1 && table.size >= table.buckets.length * MAX_BUCKET_ENTRIES) {
    if (table.buckets.length < MAX_BUCKETS) return tableOf([...entriesOf(table), [key, value]]);
  }
  const changed = bucket.slice();
  if (known === -1) changed.push([key, value]);
  else changed[known] = [key, value];
  return withBucket(table, { at, bucket: changed, size: table.size + (known === -1 ? 1 : 0) });
}

/** The table without `key`; itself when it holds none. */
export function without<T>(table: Table<T>, key: string): Table<T> {
  const at = bucketOf(key, table.buckets.length);
  const bucket = table.buckets[at]!;
  const known = indexIn(bucket, key);
  if (known === -1) return table;
  if (table.size === 1) return emptyTable();
  const rest = bucket.toSpliced(known, 1);
  return withBucket(table, { at, bucket: rest, size: table.size - 1 });
}

function withBucket<T>(
  table: Table<T>,
  change: { at: number; bucket: Bucket<T>; size: number },
): Table<T> {
  const buckets = table.buckets.slice();
  buckets[change.at] = change.bucket;
  return { size: change.size, buckets };
}

/** A table of `entries`; of two with the same key the later one counts. */
export function tableOf<T>(entries: readonly (readonly [string, T])[]): Table<T> {
  if (entries.length === 0) return emptyTable();
  let count = 1;
  while (count < MAX_BUCKETS && entries.length > count * MAX_BUCKET_ENTRIES) count *= 2;
  const buckets: (readonly [string, T])[][] = Array.from({ length: count }, () => []);
  let size = 0;
  for (const [key, value] of entries) {
    const bucket = buckets[bucketOf(key, count)]!;
    const known = indexIn(bucket, key);
    if (known === -1) {
      bucket.push([key, value]);
      size += 1;
    } else bucket[known] = [key, value];
  }
  return { size, buckets };
}

/** In no order that means anything, but always the same for the same table. */
export function* entriesOf<T>(table: Table<T>): Generator<readonly [string, T]> {
  for (const bucket of table.buckets) yield* bucket;
}

/** Keys in order of code units. */
export function sortedKeys<T>(table: Table<T>): string[] {
  const keys: string[] = [];
  for (const [key] of entriesOf(table)) keys.push(key);
  return keys.sort();
}
