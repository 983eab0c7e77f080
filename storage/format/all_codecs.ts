// Owns the list of every codec a batch can name, for whoever composes a server.
// Refuses to install them by being loaded: `installCodecs(allCodecs)` says so where it happens.
// Invariant: with these installed no batch that Kafka's clients write is unsupported.
import type { Codecs } from "./compression.ts";
import { lz4 } from "./codecs/lz4.ts";
import { snappy } from "./codecs/snappy.ts";
import { gzip, zstd } from "./codecs/zlib.ts";

/** gzip and zstd need `node:zlib`; snappy and lz4 are plain TypeScript and run in browsers too. */
export const allCodecs: Required<Codecs> = Object.freeze({ gzip, snappy, lz4, zstd });
