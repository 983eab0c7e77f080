// Owns the promise that a browser can load the codec: what the client SDK imports of it pulls in nothing else.
import assert from "node:assert/strict";

const FORMAT = new URL("../storage/format/", import.meta.url);
const FOR_BROWSERS = ["encode.ts", "decode.ts", "validate.ts", "crc32c.ts", "murmur2.ts"];

/** Everything that `url` imports, directly or not, as written or as a file address. */
function importsOf(url: URL, seen = new Set<string>()): Set<string> {
  for (const [, specifier] of Deno.readTextFileSync(url).matchAll(/from "([^"]+)"/g)) {
    const target = specifier!.startsWith(".") ? new URL(specifier!, url) : null;
    const name = target?.href ?? specifier!;
    if (seen.has(name)) continue;
    seen.add(name);
    if (target !== null) importsOf(target, seen);
  }
  return seen;
}

Deno.test("encode, decode and validate load no package, no runtime module and no codec", () => {
  for (const file of FOR_BROWSERS) {
    for (const name of importsOf(new URL(file, FORMAT))) {
      assert.ok(name.startsWith("file:") && !name.includes("/codecs/"), `${file} loads ${name}`);
    }
  }
});

Deno.test("snappy and lz4 run in a browser too", () => {
  for (const file of ["codecs/snappy.ts", "codecs/lz4.ts"]) {
    for (const name of importsOf(new URL(file, FORMAT))) assert.match(name, /^file:/);
  }
  assert.ok(importsOf(new URL("all_codecs.ts", FORMAT)).has("node:zlib"));
});
