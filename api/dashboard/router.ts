// Owns what stands behind the `#` of the address: which page, of what, shown how.
// Refuses to own the pages (pages.ts) and the browser's history (hooks.ts).
// Invariant: pure; what `hrefOf` writes `placeOf` reads back, whatever characters names have.

/** Where somebody is: `#/groups/billing?tab=offsets` is path ["groups", "billing"], query { tab: "offsets" }. */
export interface Place {
  readonly path: readonly string[];
  readonly query: Readonly<Record<string, string>>;
}

/** The place that a hash names; what cannot be read is left as it stands. */
export function placeOf(hash: string): Place {
  const text = hash.replace(/^#?\/?/, "");
  const cut = text.indexOf("?");
  const path = (cut < 0 ? text : text.slice(0, cut)).split("/")
    .filter((part) => part !== "").map(decoded);
  const query = Object.fromEntries(new URLSearchParams(cut < 0 ? "" : text.slice(cut + 1)));
  return { path, query };
}

/** The address of a place, for links; values of `query` that are undefined or empty are left out. */
export function hrefOf(
  path: readonly string[],
  query: Readonly<Record<string, string | undefined>> = {},
): string {
  const given = Object.entries(query)
    .filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== "");
  const search = new URLSearchParams(given).toString();
  const encoded = path.map((part) => encodeURIComponent(part));
  return `#/${encoded.join("/")}${search === "" ? "" : `?${search}`}`;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
