// Owns the headers that guard what browsers show: pages, and what they load.
// Refuses to own their contents and policies. Invariant: nothing is guessed, framed, told to others, or kept unasked.

/** `policy`: the content security policy. */
export function guardedHeaders(policy: string): Record<string, string> {
  return {
    "content-security-policy": policy,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    // Asked for each time: a broker that was upgraded brings its own at once.
    "cache-control": "no-cache",
  };
}
