// Owns the alphabet of the names that logs and snapshots are stored under.
// Refuses to give them meaning: a name is an address, made by whoever composes.
// Invariant: a checked name is safe as a relative file path and as a key, and cannot leave its root.

/** Longest name, in characters (which are bytes here). */
export const MAX_PATH_NAME_LENGTH = 512;

const PATH_NAME = /^[A-Za-z0-9_-]+(?:\/[A-Za-z0-9_-]+)*$/;

/** Throws a plain Error unless `name` is a `/`-separated path of `[A-Za-z0-9_-]` parts. */
export function checkPathName(name: string): void {
  if (name.length > MAX_PATH_NAME_LENGTH || !PATH_NAME.test(name)) {
    throw new Error(`not a name to store under: ${JSON.stringify(name.slice(0, 100))}`);
  }
}

/** Whether `name` lies below `prefix`, part by part; everything lies below the empty prefix. */
export function isBelow(prefix: string, name: string): boolean {
  return prefix === "" || name.startsWith(`${prefix}/`);
}
