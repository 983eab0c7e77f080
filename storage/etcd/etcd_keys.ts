// Owns how metadata keys lie in etcd: the cluster's name, then each part behind a NUL, as UTF-8.
// Refuses to own what keys may be (metadata_limits.ts).
// Invariant: byte order is the order of `compareKeys`, and what lies below a prefix is exactly one range: no part holds
// a NUL, which comes before every other byte, so a key is followed by what lies below it, and only then by its neighbour.
import type { MetadataKey } from "../metadata.ts";
import { checkPrefix } from "../metadata_limits.ts";

/** Longest name of a cluster in UTF-8 bytes. It is part of every key. */
export const MAX_CLUSTER_NAME_BYTES = 200;

const utf8 = new TextEncoder();
const text = new TextDecoder();

/** A range of etcd keys: `key` belongs to it, `range_end` does not. Base64. */
export interface EtcdRange {
  readonly key: string;
  readonly range_end: string;
}

/** The keys of one cluster. */
export class EtcdKeys {
  /** Throws a plain Error when `cluster` is no name: empty, with NUL, or too long. */
  constructor(private readonly cluster: string) {
    checkPrefix([cluster]);
    const sizeBytes = utf8.encode(cluster).length;
    if (sizeBytes > MAX_CLUSTER_NAME_BYTES) {
      throw new Error(`a cluster's name is ${sizeBytes} bytes, at most ${MAX_CLUSTER_NAME_BYTES}`);
    }
  }

  /** Where `key` lies, base64. */
  of(key: MetadataKey): string {
    return base64(this.#path(key));
  }

  /** What lies below `prefix`; with `after`, only what comes after that key. */
  below(prefix: MetadataKey, after?: MetadataKey): EtcdRange {
    const path = this.#path(prefix);
    return {
      // No key lies between another one and the same with a NUL behind it.
      key: base64(after === undefined ? `${path}\0` : `${this.#path(after)}\0`),
      range_end: base64(`${path}\x01`),
    };
  }

  /** Of a key as etcd shows it. */
  parse(encoded: string): MetadataKey {
    return text.decode(Uint8Array.fromBase64(encoded)).split("\0").slice(1);
  }

  #path(key: MetadataKey): string {
    return [this.cluster, ...key].join("\0");
  }
}

function base64(value: string): string {
  return utf8.encode(value).toBase64();
}
