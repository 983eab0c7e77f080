// Owns the hash by which Kafka's clients choose the partition of a key (`org.apache.kafka.common.utils.Utils.murmur2`).
// Refuses to own what happens without a key.
// Invariant: same key bytes and partition count, same partition, in every client of every language.

const SEED = 0x9747b28c;
const MULTIPLIER = 0x5bd1e995;

/** murmur2 of `bytes` as a signed 32-bit integer. */
export function murmur2(bytes: Uint8Array): number {
  const length = bytes.length;
  const wholeEnd = length - (length % 4);
  let hash = SEED ^ length;
  for (let at = 0; at < wholeEnd; at += 4) {
    let word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    word = Math.imul(word, MULTIPLIER);
    word ^= word >>> 24;
    hash = Math.imul(hash, MULTIPLIER) ^ Math.imul(word, MULTIPLIER);
  }
  const left = length - wholeEnd;
  if (left > 2) hash ^= bytes[wholeEnd + 2]! << 16;
  if (left > 1) hash ^= bytes[wholeEnd + 1]! << 8;
  if (left > 0) hash = Math.imul(hash ^ bytes[wholeEnd]!, MULTIPLIER);
  hash = Math.imul(hash ^ (hash >>> 13), MULTIPLIER);
  return hash ^ (hash >>> 15);
}

/** Partition of `key` among `partitions` (at least 1), as the default partitioner of Kafka's Java client. */
export function partitionForKey(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions;
}
