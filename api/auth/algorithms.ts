// Owns the algorithms that an issuer of JWTs may sign with (RFC 7518, 3.1).
// Refuses to own verifying (jwt.ts), which is loaded only where JWTs are configured.
// Invariant: none of them takes a shared secret, so that a public key can never pass for one.

export const ISSUER_ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
] as const;

export type IssuerAlgorithm = typeof ISSUER_ALGORITHMS[number];
