// Owns zigzag varints (32 bit) and varlongs (64 bit, as safe integers), as Protocol Buffers and Kafka's records have them.
// Refuses to own what they count.
// Invariant: what is written is minimal, and what is not minimal is not read: one value, one encoding.
import { BrokerError } from "../broker_error.ts";
import { corruptBatch } from "./record_batch.ts";

/** Bytes that `value`, an int32, takes. */
export function varintBytes(value: number): number {
  const zigzag = (value << 1) ^ (value >> 31);
  return ((38 - Math.clz32(zigzag | 1)) / 7) | 0;
}

/** Bytes that `value`, a safe integer, takes. */
export function varlongBytes(value: number): number {
  if (value === (value | 0)) return varintBytes(value);
  // The sign takes the lowest bit of the first byte, so six bits of the magnitude go there.
  let rest = Math.floor((value < 0 ? -1 - value : value) / 64);
  let count = 1;
  for (; rest > 0; rest = Math.floor(rest / 128)) count++;
  return count;
}

/** Writes an int32; returns where it ends. */
export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  while (rest > 127) {
    bytes[at++] = rest | 128;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}

/** Writes a safe integer; returns where it ends. Throws INVALID_REQUEST for any other: no reader would take it. */
export function writeVarlong(bytes: Uint8Array, at: number, value: number): number {
  if (value === (value | 0)) return writeVarint(bytes, at, value);
  if (!Number.isSafeInteger(value)) {
    throw new BrokerError("INVALID_REQUEST", `timestamps of one batch lie ${value} ms apart`);
  }
  const magnitude = value < 0 ? -1 - value : value;
  // Never doubled as a whole: twice a safe integer need not be one.
  let low = (magnitude % 64) * 2 + (value < 0 ? 1 : 0);
  let rest = Math.floor(magnitude / 64);
  while (rest > 0) {
    bytes[at++] = low | 128;
    low = rest % 128;
    rest = Math.floor(rest / 128);
  }
  bytes[at++] = low;
  return at;
}

/** Reads forward through `bytes` up to `end`, never past it. Every fault throws CORRUPT_BATCH. */
export class Cursor {
  /** `end` must not be beyond `bytes.length`. */
  constructor(readonly bytes: Uint8Array, public at: number, readonly end: number) {}

  byte(): number {
    if (this.at >= this.end) throw this.#fault("ends too early");
    return this.bytes[this.at++]!;
  }

  /** An int32 as a zigzag varint of 1 to 5 bytes. */
  varint(): number {
    const bytes = this.bytes;
    let at = this.at;
    if (at >= this.end) throw this.#fault("ends too early");
    let byte = bytes[at++]!;
    let zigzag = byte & 127;
    for (let shift = 7; byte > 127; shift += 7) {
      if (at >= this.end) throw this.#fault("ends within a varint");
      byte = bytes[at++]!;
      zigzag |= (byte & 127) << shift;
      if (byte === 0 || (shift === 28 && byte > 15)) throw this.#fault("has an overlong varint");
    }
    this.at = at;
    return (zigzag >>> 1) ^ -(zigzag & 1);
  }

  /** A safe integer as a zigzag varint of 1 to 8 bytes. */
  varlong(): number {
    const bytes = this.bytes;
    let at = this.at;
    if (at >= this.end) throw this.#fault("ends too early");
    let byte = bytes[at++]!;
    const sign = byte & 1;
    let magnitude = (byte & 127) >>> 1;
    for (let scale = 64; byte > 127; scale *= 128) {
      if (at >= this.end) throw this.#fault("ends within a varint");
      byte = bytes[at++]!;
      if (byte === 0) throw this.#fault("has an overlong varint");
      magnitude += (byte & 127) * scale;
      if (magnitude > Number.MAX_SAFE_INTEGER - sign) {
        throw this.#fault("has a varint beyond 2^53 - 1");
      }
    }
    this.at = at;
    return sign === 1 ? -1 - magnitude : magnitude;
  }

  /** Moves over `count` bytes. */
  skip(count: number): void {
    if (count > this.end - this.at) {
      throw this.#fault(`has a field of ${count} bytes that overruns`);
    }
    this.at += count;
  }

  /** The next `count` bytes, as a view. */
  take(count: number): Uint8Array {
    const from = this.at;
    this.skip(count);
    return this.bytes.subarray(from, this.at);
  }

  #fault(what: string): Error {
    return corruptBatch(`record data ${what} at byte ${this.at}`, { at: this.at });
  }
}
