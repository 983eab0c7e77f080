// Owns base64 for runtimes of all kinds: what the platform has takes text of single bytes.
// Refuses to own what is encoded. Invariant: pure.

/** Without what only newer runtimes have. */
export function base64Of(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
