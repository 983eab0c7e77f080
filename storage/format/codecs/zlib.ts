// Owns gzip and zstd, both from the runtime's own zlib.
// Refuses windows that would take far more memory than the data may have: see MAX_WINDOW_LOG.
// Invariant: output past the limit is never allocated; the runtime stops at `maxOutputLength`.
import { constants, gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { BrokerError } from "../../broker_error.ts";
import type { Codec } from "../compression.ts";
import { corruptBatch } from "../record_batch.ts";

/** The runtime refuses a larger bound than this. */
const MAX_OUTPUT_BYTES = 0x7fffffff;
/** 8 MiB: what every decoder must support (RFC 8878, 3.1.1.1.2) and what levels up to 19 use. */
const MAX_WINDOW_LOG = 23;

export const gzip: Codec = {
  compress: (bytes) => plainView(gzipSync(bytes)),
  decompress: (bytes, maxBytes) =>
    bounded("gzip", maxBytes, (maxOutputLength) => gunzipSync(bytes, { maxOutputLength })),
};

export const zstd: Codec = {
  compress: (bytes) => plainView(zstdCompressSync(bytes)),
  decompress: (bytes, maxBytes) =>
    bounded("zstd", maxBytes, (maxOutputLength) =>
      zstdDecompressSync(bytes, {
        maxOutputLength,
        params: { [constants.ZSTD_d_windowLogMax]: MAX_WINDOW_LOG },
      })),
};

function bounded(
  name: string,
  maxBytes: number,
  decompress: (maxOutputLength: number) => Uint8Array,
): Uint8Array {
  let plain: Uint8Array;
  try {
    // The runtime knows no bound of 0.
    plain = decompress(Math.min(Math.max(maxBytes, 1), MAX_OUTPUT_BYTES));
  } catch (cause) {
    if ((cause as { code?: unknown }).code === "ERR_BUFFER_TOO_LARGE") {
      throw tooLarge(name, maxBytes);
    }
    throw new BrokerError("CORRUPT_BATCH", `${name} data is malformed`, {}, { cause });
  }
  if (plain.length > maxBytes) throw tooLarge(name, maxBytes);
  return plainView(plain);
}

/** Callers get Uint8Arrays only: a Buffer's `slice` means something else. */
function plainView(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

function tooLarge(name: string, maxBytes: number): Error {
  return corruptBatch(`${name} data holds more than the ${maxBytes} bytes that may be`, {
    maxDecompressedBytes: maxBytes,
  });
}
