// Owns the named bounds of members that poll over HTTP.
// Refuses to own bounds that all of the edge shares (api/limits.ts) and those of sessions (api/stream/limits.ts).
// Invariant: every queue, wait and answer below api/members takes its bound from here.

export interface MemberLimits {
  /** HTTP members that one broker keeps state for. */
  readonly maxMembers: number;
  /** Of those a tenant has no more than this share: the rest is for others, and administrators. */
  readonly maxTenantShare: number;
  /** A join waits at most this long for the first assignment before it answers without one. */
  readonly joinWaitMs: number;
  readonly maxMessages: number;
  readonly defaultMessages: number;
  /** Keys, values and headers of one answer; one message is always told. */
  readonly maxBytes: number;
  readonly maxWaitMs: number;
  /** Polls of one member that wait for the one under way. */
  readonly maxQueuedPolls: number;
  /** Bytes that one fetch asks for. */
  readonly fetchBytes: number;
  readonly maxDecompressedBytes: number;
  readonly retryMs: number;
}

const MIB = 1_048_576;

export const MEMBER_LIMITS: MemberLimits = Object.freeze({
  maxMembers: 20_000,
  maxTenantShare: 0.75,
  joinWaitMs: 5_000,
  maxMessages: 10_000,
  defaultMessages: 500,
  maxBytes: 8 * MIB,
  maxWaitMs: 30_000,
  maxQueuedPolls: 4,
  fetchBytes: MIB,
  maxDecompressedBytes: 64 * MIB,
  retryMs: 1_000,
});
