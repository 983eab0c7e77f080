// Owns the port of the one cipher that everything at rest is sealed with: AES-256-GCM, and chance for its keys and nonces.
// Refuses to own what is sealed, under which key, and where keys come from.
// Invariant: what `open` returns was sealed with the same key, nonce and associated data, byte for byte; else it is null.

/** Bytes of a key. */
export const KEY_BYTES = 32;
/** Bytes of a nonce (NIST SP 800-38D): random, so one key may seal 2^32 boxes at most. */
export const NONCE_BYTES = 12;
/** Bytes of a tag, which comes behind the ciphertext. */
export const TAG_BYTES = 16;

/** A key as an Aead prepared it; its bytes are not to be seen any more. */
export interface PreparedKey {
  readonly prepared: "aes-256-gcm";
}

/** What goes into a box, or comes out of it. */
export interface SealInput {
  /** NONCE_BYTES, never used before with this key. */
  readonly nonce: Uint8Array;
  /** Not hidden, but vouched for. */
  readonly associated: Uint8Array;
  /** To seal: plain. To open: ciphertext and tag. */
  readonly bytes: Uint8Array;
}

export interface Aead {
  /** Of a generator that is fit for keys. */
  randomBytes(count: number): Uint8Array;
  /** `secret` has KEY_BYTES, else a plain Error is thrown. */
  prepare(secret: Uint8Array): PreparedKey;
  /** Ciphertext and tag. */
  seal(key: PreparedKey, input: SealInput): Uint8Array;
  /** Null when it was not sealed so. */
  open(key: PreparedKey, input: SealInput): Uint8Array | null;
  /** Lets others have a turn on this thread, where work was done on it at once. */
  pause(): Promise<void>;
  /** As `seal`, on another thread where that is worth it. */
  sealLater(key: PreparedKey, input: SealInput): Promise<Uint8Array>;
  /** As `open`, on another thread where that is worth it. */
  openLater(key: PreparedKey, input: SealInput): Promise<Uint8Array | null>;
}
