// Owns how a webhook's delivery is signed, after the Standard Webhooks specification (standardwebhooks.com, version 1).
// Refuses to own sending (webhook_sender.ts).
// Invariant: the signature covers id, time and body, so that none of them can be exchanged.

const encoder = new TextEncoder();
/** How that specification writes secrets that are base64. */
const BASE64_PREFIX = "whsec_";

export interface SignedDelivery {
  readonly id: string;
  /** Wall time, ms. */
  readonly at: number;
  readonly body: string;
}

/** Headers that tell a delivery, signed with `secret` unless it is null. */
export async function deliveryHeaders(
  delivery: SignedDelivery,
  secret: CryptoKey | null,
): Promise<Record<string, string>> {
  const timestamp = String(Math.floor(delivery.at / 1_000));
  const headers = {
    "content-type": "application/json",
    "webhook-id": delivery.id,
    "webhook-timestamp": timestamp,
  };
  if (secret === null) return headers;
  const signed = encoder.encode(`${delivery.id}.${timestamp}.${delivery.body}`);
  const mac = new Uint8Array(await crypto.subtle.sign("HMAC", secret, signed));
  return { ...headers, "webhook-signature": `v1,${mac.toBase64()}` };
}

/** The key of a secret: `whsec_` and base64, or any text. Throws a plain Error for base64 that is none. */
export async function signingKey(secret: string): Promise<CryptoKey> {
  const bytes = secret.startsWith(BASE64_PREFIX)
    ? Uint8Array.fromBase64(secret.slice(BASE64_PREFIX.length))
    : encoder.encode(secret);
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  return await crypto.subtle.importKey("raw", bytes, algorithm, false, ["sign"]);
}
