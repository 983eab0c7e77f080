// Owns reading the environment with the permission for our own variables alone (`--allow-env=WAYBILL_*`).
// Refuses to own what they mean (config.ts). Invariant: of the variables of others not even the value is looked at.
// The runtime lists names only to those who may read everything. That a misspelt variable of ours is an error takes the
// names, so they come from the C library, which this process may use anyway.

const PREFIX = "WAYBILL_";
const SYMBOLS = { environ: { type: "pointer" } } as const;
const POINTER_BYTES = 8;
/** Longest list that is looked through. */
const MAX_VARIABLES = 100_000;

/**
 * Our variables with their values. Where the names cannot be had, those of `known` that are set: misspelt ones go
 * unnoticed then.
 */
export function ownEnvironment(known: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of ownNames() ?? known) {
    const value = Deno.env.get(name);
    if (value !== undefined) found[name] = value;
  }
  return found;
}

function ownNames(): string[] | null {
  if (Deno.permissions.querySync({ name: "env" }).state === "granted") {
    return Object.keys(Deno.env.toObject()).filter((name) => name.startsWith(PREFIX));
  }
  if (Deno.build.os !== "linux") return null;
  try {
    const library = Deno.dlopen("libc.so.6", SYMBOLS);
    const names = [...namesAt(library.symbols.environ)];
    library.close();
    return names;
  } catch {
    return null;
  }
}

/** `environ` is a variable that points to a list, ended by null, of texts `NAME=value`. */
function* namesAt(variable: Deno.PointerValue): Generator<string> {
  const list = variable === null ? null : new Deno.UnsafePointerView(variable).getPointer();
  if (list === null) return;
  const view = new Deno.UnsafePointerView(list);
  for (let index = 0; index < MAX_VARIABLES; index++) {
    const text = view.getPointer(index * POINTER_BYTES);
    if (text === null) return;
    const name = nameAt(new Deno.UnsafePointerView(text));
    if (name !== null) yield name;
  }
}

/** Letter by letter up to the equals sign, and only while it may be ours. */
function nameAt(text: Deno.UnsafePointerView): string | null {
  let name = "";
  for (let at = 0; at < 256; at++) {
    const code = text.getUint8(at);
    if (code === 0) return null;
    if (code === 0x3d) return name.length > PREFIX.length ? name : null;
    name += String.fromCharCode(code);
    if (at < PREFIX.length && name !== PREFIX.slice(0, at + 1)) return null;
  }
  return null;
}
