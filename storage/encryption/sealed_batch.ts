// Owns what a record batch looks like at rest when it is encrypted, and making and undoing that.
// Refuses to own keys (key_ring.ts) and nonces' uniqueness (random, see aead.ts).
// Invariant: a sealed batch is a whole batch (magic 2) with a valid CRC over what is stored; opened, it is byte for byte
// what was sealed.
//
//   61 bytes   the batch's header in clear, with SEALED_BIT in the attributes, its length and CRC being those of what is stored
//    4 bytes   id of the data key, in the log's key ring
//   12 bytes   nonce
//    n bytes   the batch's own CRC and its records, encrypted
//   16 bytes   tag
//
// Vouched for with it: the clear header's fields but length and CRC, and the key's id. So nobody without the key can
// change a header, move a batch to another offset or log (keys are a log's own), or put anything in its place.
import {
  CRC_START as AT_ATTRIBUTES,
  HEADER_BYTES,
  setSizeBytes,
  sizeBytesAt,
  stampCrc,
} from "../format/record_batch.ts";
import type { Crc32c } from "../ports.ts";
import { type Aead, NONCE_BYTES, type PreparedKey, type SealInput, TAG_BYTES } from "./aead.ts";

/** Of a high byte of attributes that no release of the format uses; batches of clients that have it are refused. */
const SEALED_BIT = 0x80;
const KEY_ID_BYTES = 4;
const CRC_BYTES = 4;
const AT_KEY_ID = HEADER_BYTES;
const AT_NONCE = AT_KEY_ID + KEY_ID_BYTES;
const AT_BOX = AT_NONCE + NONCE_BYTES;
const AT_CRC = 17;
const AT_LEADER_EPOCH = 12;

/** What sealing adds to a batch. */
export const SEAL_BYTES = KEY_ID_BYTES + NONCE_BYTES + CRC_BYTES + TAG_BYTES;

export interface SealingKey {
  readonly keyId: number;
  readonly key: PreparedKey;
}

/** Whether the batch at `at`, whose header is there, is sealed. */
export function isSealed(bytes: Uint8Array, at: number): boolean {
  return (bytes[at + AT_ATTRIBUTES]! & SEALED_BIT) !== 0;
}

/** Id of the data key of the sealed batch at `at`; null when it is not sealed or too short to be. */
export function keyIdAt(bytes: Uint8Array, at: number): number | null {
  if (!isSealed(bytes, at) || sizeBytesAt(bytes, at) < HEADER_BYTES + SEAL_BYTES) return null;
  return new DataView(bytes.buffer, bytes.byteOffset + at + AT_KEY_ID, KEY_ID_BYTES).getUint32(0);
}

/** What is to be encrypted of a whole batch, with offset and epoch in place and no guard on it. */
export function toSeal(batch: Uint8Array, keyId: number, aead: Aead): SealInput {
  const bytes = new Uint8Array(batch.length - HEADER_BYTES + CRC_BYTES);
  bytes.set(batch.subarray(AT_CRC, AT_CRC + CRC_BYTES), 0);
  bytes.set(batch.subarray(HEADER_BYTES), CRC_BYTES);
  const nonce = aead.randomBytes(NONCE_BYTES);
  return { nonce, associated: associatedOf(batch, 0, keyId), bytes };
}

/** The batch at rest, from what was encrypted of it. */
export function sealedBatch(
  batch: Uint8Array,
  sealed: { keyId: number; nonce: Uint8Array; box: Uint8Array },
  crc32c: Crc32c,
): Uint8Array {
  const stored = new Uint8Array(AT_BOX + sealed.box.length);
  stored.set(batch.subarray(0, HEADER_BYTES), 0);
  stored[AT_ATTRIBUTES]! |= SEALED_BIT;
  new DataView(stored.buffer).setUint32(AT_KEY_ID, sealed.keyId);
  stored.set(sealed.nonce, AT_NONCE);
  stored.set(sealed.box, AT_BOX);
  setSizeBytes(stored, 0, stored.length);
  stampCrc(stored, 0, crc32c);
  return stored;
}

/** What is to be decrypted of the sealed batch at `at`, which is whole and has no guard on it. */
export function toOpen(bytes: Uint8Array, at: number, keyId: number): SealInput {
  return {
    nonce: bytes.subarray(at + AT_NONCE, at + AT_BOX),
    associated: associatedOf(bytes, at, keyId),
    bytes: bytes.subarray(at + AT_BOX, at + sizeBytesAt(bytes, at)),
  };
}

/** The batch that was sealed as the one at `at`, from what was decrypted of it, into `into` at `to`; its size. */
export function putOpened(
  from: { bytes: Uint8Array; at: number; plain: Uint8Array },
  into: Uint8Array,
  to: number,
): number {
  const { bytes, at, plain } = from;
  const sizeBytes = HEADER_BYTES + plain.length - CRC_BYTES;
  into.set(bytes.subarray(at, at + HEADER_BYTES), to);
  into[to + AT_ATTRIBUTES]! &= ~SEALED_BIT;
  setSizeBytes(into, to, sizeBytes);
  into.set(plain.subarray(0, CRC_BYTES), to + AT_CRC);
  into.set(plain.subarray(CRC_BYTES), to + HEADER_BYTES);
  return sizeBytes;
}

/** Size of the batch that the sealed one at `at` was. */
export function openedSizeAt(bytes: Uint8Array, at: number): number {
  return sizeBytesAt(bytes, at) - SEAL_BYTES;
}

function associatedOf(bytes: Uint8Array, at: number, keyId: number): Uint8Array {
  const epochAndMagic = bytes.subarray(at + AT_LEADER_EPOCH, at + AT_CRC);
  const rest = bytes.subarray(at + AT_ATTRIBUTES, at + HEADER_BYTES);
  const associated = new Uint8Array(8 + epochAndMagic.length + rest.length + KEY_ID_BYTES);
  associated.set(bytes.subarray(at, at + 8), 0);
  associated.set(epochAndMagic, 8);
  const attributes = 8 + epochAndMagic.length;
  associated.set(rest, attributes);
  associated[attributes]! &= ~SEALED_BIT;
  new DataView(associated.buffer).setUint32(attributes + rest.length, keyId);
  return associated;
}
