// Owns the version this broker says it is. Refuses to own anything else.
// Invariant: it is the one of deno.json; a test compares them.
export const VERSION = "0.1.0";
