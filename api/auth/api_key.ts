// Owns what an API key looks like: making one, its digest, and comparing.
// Refuses to own what is kept of it (actors/access_key/).
// Invariant: a key is compared by digest, in constant time, and is in no message, log or store.
import { createHash, timingSafeEqual } from "node:crypto";

const SECRET_BYTES = 32;
const PREFIX = "wbk_";
/** Characters that may stand in a header and in a WebSocket subprotocol. */
const API_KEY = /^wbk_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})_[A-Za-z0-9_-]{43}$/;

/**
 * A key that names its id, with 256 random bits. These come from the system's generator directly: a secret must not come
 * from a port that a test may seed.
 */
export function newApiKey(keyId: string): string {
  const secret = crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
  return `${PREFIX}${keyId}_${secret.toBase64({ alphabet: "base64url", omitPadding: true })}`;
}

/** The id that an API key names; null for text that is none. */
export function keyIdOf(token: string): string | null {
  return token.startsWith(PREFIX) ? API_KEY.exec(token)?.[1] ?? null : null;
}

/** SHA-256. Enough for what has 256 random bits; digests have one length, which hides that of the token. */
export function digestOf(token: string): Uint8Array {
  return createHash("sha256").update(token).digest();
}

/** Whether two digests are the same, in constant time. */
export function isSameDigest(a: Uint8Array, b: Uint8Array): boolean {
  return timingSafeEqual(a, b);
}
