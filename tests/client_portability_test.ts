// Owns the promise that the client SDK runs where applications run: no package, no runtime's own modules or globals.
import assert from "node:assert/strict";

const ENTRY = new URL("../api/client.ts", import.meta.url);
const ALLOWED =
  /\/(?:api\/client(?:\/[a-z0-9_]+)?\.ts|storage\/(?:format\/[a-z0-9_]+|[a-z_]+)\.ts)$/;

/** Source by address of everything that the SDK loads when it is imported; types are not loaded. */
function loaded(url: URL, seen = new Map<string, string>()): Map<string, string> {
  if (seen.has(url.href)) return seen;
  const source = Deno.readTextFileSync(url);
  seen.set(url.href, source);
  const withoutTypes = source.replace(/(?:import|export) type [\s\S]*?from "[^"]+";/g, "");
  for (const [, specifier] of withoutTypes.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)) {
    assert.ok(specifier!.startsWith("."), `${url.href} loads ${specifier}`);
    loaded(new URL(specifier!, url), seen);
  }
  return seen;
}

function code(source: string): string {
  return source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|[^:"'`])\/\/.*$/gm, "$1");
}

Deno.test("the client loads nothing but itself and the pure parts of the format", () => {
  for (const address of loaded(ENTRY).keys()) assert.match(address, ALLOWED);
});

Deno.test("the client names no global of one runtime alone", () => {
  for (const [address, source] of loaded(ENTRY)) {
    const text = code(source);
    assert.doesNotMatch(text, /\bDeno\./, address);
    assert.doesNotMatch(text, /\bprocess\./, address);
    assert.doesNotMatch(text, /\bBuffer\./, address);
    assert.doesNotMatch(text, /["'`]node:/, address);
  }
});

Deno.test("the client uses nothing that Node 20 does not have", () => {
  const tooNew: readonly RegExp[] = [
    /\bPromise\.(?:withResolvers|try)\b/,
    /\bArray\.fromAsync\b/,
    /\.(?:toBase64|fromBase64|toHex)\(/,
    /\.(?:keys|values|entries)\(\)\.(?:map|filter|some|every|find|reduce|take|drop|toArray)\(/,
    /\bObject\.groupBy\b/,
    /\.(?:union|intersection|difference|isSubsetOf)\(/,
    /\bIterator\./,
    /^\s*(?:await )?using /m,
  ];
  for (const [address, source] of loaded(ENTRY)) {
    for (const pattern of tooNew) assert.doesNotMatch(code(source), pattern, address);
  }
});
