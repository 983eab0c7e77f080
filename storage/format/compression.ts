// Owns the names of the codecs a batch can carry, and the registry through which encode and decode reach them.
// Refuses to own any codec: they are in codecs/, which a browser never loads; whoever composes installs what it has.
// Invariant: a codec never gives more than the bytes it was allowed to.
import { BrokerError } from "../broker_error.ts";

/** By number in the attributes (bits 0 to 2). */
export const COMPRESSIONS = ["none", "gzip", "snappy", "lz4", "zstd"] as const;
export type Compression = (typeof COMPRESSIONS)[number];

/** One codec, synchronous. */
export interface Codec {
  compress(bytes: Uint8Array): Uint8Array;
  /**
   * Throws CORRUPT_BATCH when `bytes` are malformed or hold more than `maxBytes`; the bound is kept before memory is
   * taken, whatever the data says of its own size.
   */
  decompress(bytes: Uint8Array, maxBytes: number): Uint8Array;
}

export type Codecs = Readonly<Partial<Record<Exclude<Compression, "none">, Codec>>>;

const installed = new Map<Compression, Codec>();

/** Makes codecs known to encode, decode and validate; later ones replace earlier ones of the same name. */
export function installCodecs(codecs: Codecs): void {
  for (const [name, codec] of Object.entries(codecs)) installed.set(name as Compression, codec);
}

/** The codec of that name. UNSUPPORTED_COMPRESSION when none was installed. */
export function codecNamed(name: Exclude<Compression, "none">): Codec {
  const codec = installed.get(name);
  if (codec === undefined) {
    throw new BrokerError("UNSUPPORTED_COMPRESSION", `compression ${name} is not available here`, {
      compression: name,
    });
  }
  return codec;
}

/** Name of codec number `id`. UNSUPPORTED_COMPRESSION for 5 to 7, which name none. */
export function compressionOf(id: number): Compression {
  const name = COMPRESSIONS[id];
  if (name === undefined) {
    throw new BrokerError("UNSUPPORTED_COMPRESSION", `compression codec ${id} is unknown`, {
      codec: id,
    });
  }
  return name;
}
