// Owns how every list is paged: `limit`, an opaque `cursor`, `nextCursor`.
// Refuses to own the lists and their order.
// Invariant: a cursor names the last entry seen, so entries that come or go meanwhile shift no page.
import { z } from "zod";
import { integerText } from "./fields.ts";
import type { ApiLimits } from "./limits.ts";
import { invalidRequest } from "./plain_data.ts";

const MAX_CURSOR_CHARS = 1_000;
const MAX_SEARCH_CHARS = 249;

/** The query of a list. */
export function pageQuery(limits: ApiLimits) {
  return z.strictObject({
    limit: integerText(z.int().min(1).max(limits.maxPageEntries))
      .prefault(limits.defaultPageEntries).meta({ description: "Most entries on the page." }),
    cursor: z.string().max(MAX_CURSOR_CHARS).optional()
      .meta({ description: "`nextCursor` of the page before." }),
  });
}

/** The query of a list of names that may be searched. */
export function searchQuery(limits: ApiLimits) {
  return pageQuery(limits).extend({
    search: z.string().min(1).max(MAX_SEARCH_CHARS).optional()
      .meta({ description: "Only names that contain it, upper or lower case." }),
  });
}

/** Whether `name` is one that `search` asks for; without it, every name is. */
export function matches(name: string, search: string | undefined): boolean {
  return search === undefined || name.toLowerCase().includes(search.toLowerCase());
}

export interface PageQuery {
  readonly limit: number;
  readonly cursor?: string | undefined;
}

/** How entries are told apart: `keyOf` names one, `isAfter` says whether one comes behind a key. */
export interface PageOrder<Entry> {
  readonly keyOf: (entry: Entry) => string;
  readonly isAfter: (entry: Entry, key: string) => boolean;
}

export interface Page<Entry> {
  readonly entries: readonly Entry[];
  /** Present when there may be more. */
  readonly nextCursor?: string;
}

/** Field of a response that pages. */
export const nextCursor = z.string().optional()
  .meta({ description: "Ask with it as `cursor` for the next page; absent on the last." });

/** The page of `entries` (in their order) that `query` asks for. Throws INVALID_REQUEST for a cursor that is none. */
export function pageOf<Entry>(
  entries: readonly Entry[],
  query: PageQuery,
  order: PageOrder<Entry>,
): Page<Entry> {
  const key = query.cursor === undefined ? null : keyOfCursor(query.cursor);
  const rest = key === null ? entries : entries.filter((entry) => order.isAfter(entry, key));
  const page = rest.slice(0, query.limit);
  if (page.length === rest.length) return { entries: page };
  return { entries: page, nextCursor: cursorOfKey(order.keyOf(page.at(-1)!)) };
}

/** The order of entries that are sorted by a name. */
export function byName<Entry>(nameOf: (entry: Entry) => string): PageOrder<Entry> {
  return { keyOf: nameOf, isAfter: (entry, key) => nameOf(entry) > key };
}

/** The cursor that names `key`. */
export function cursorOfKey(key: string): string {
  return new TextEncoder().encode(key).toBase64({ alphabet: "base64url", omitPadding: true });
}

/** What a cursor names. Throws INVALID_REQUEST for one that is none. */
export function keyOfCursor(cursor: string): string {
  try {
    const bytes = Uint8Array.fromBase64(cursor, { alphabet: "base64url" });
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw invalidRequest([{ path: "cursor", message: "is not a cursor of this list" }], cause);
  }
}
