// Owns spoiling what would be right: values within a body, and the bytes of a body, as a careless or evil client might.
// Refuses to own what is spoiled, and judging the answer.
// Invariant: what comes out depends on fast-check's choices alone, so that a failure can be seen again and shrunk.
import fc from "fast-check";

function nested(depth: number): unknown {
  let value: unknown = 0;
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

/** What hardly any field takes, and what many a careless check lets through. */
const HOSTILE_VALUES: readonly unknown[] = [
  ...[null, true, false, [], {}, [[]], [null], { "": "" }, nested(70), nested(300)],
  ...[
    0,
    -0,
    -1,
    1.5,
    -1e-7,
    2 ** 31,
    2 ** 32,
    2 ** 53 - 1,
    2 ** 53,
    2 ** 63,
    2 ** 64,
    1e308,
    5e-324,
  ],
  ...["", " ", ".", "..", "../x", "__groups", "a/b", "a\u0000b", "\u202e", "💥", "x".repeat(300)],
  ...["NaN", "1e400", "-1", "0x10", "1.5", "true", "null", "[object Object]", "__proto__"],
  ...[
    "earliest",
    "latest",
    "@0",
    "@-1",
    "@1e400",
    "@9999-12-31T23:59:60Z",
    "@",
    "+1",
    "-1",
    "+1e9",
  ],
  ...["%00", "%ff", "orders%2f..", "é".repeat(130), "\r\nset-cookie: a=b", "9".repeat(400)],
  ...[{ constructor: { prototype: {} } }, { toString: 1, valueOf: 1 }, { length: 2 ** 31 }],
  { then: "x" },
  Array.from({ length: 10_001 }, () => 0),
  Object.fromEntries(Array.from({ length: 1_001 }, (_, index) => [`k${index}`, 0])),
];

/** A value that hardly fits where it stands. */
export const hostileValue: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...HOSTILE_VALUES) },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
);

/** One change of one node of a value; `node` counts them from the root, round and round. */
export interface ValueSpoil {
  readonly node: number;
  readonly change: "replace" | "drop" | "add" | "repeat" | "wrap";
  readonly value: unknown;
}

export const valueSpoil: fc.Arbitrary<ValueSpoil> = fc.record({
  node: fc.nat(60),
  change: fc.constantFrom("replace", "replace", "replace", "drop", "add", "repeat", "wrap"),
  value: hostileValue,
});

/** A copy of `value` after each of `spoils`. */
export function spoiledValue(value: unknown, spoils: readonly ValueSpoil[]): unknown {
  return spoils.reduce((current, spoil) => spoiledOnce(current, spoil), value);
}

function spoiledOnce(root: unknown, { node, change, value }: ValueSpoil): unknown {
  const wanted = node % countNodes(root);
  let seen = 0;
  const walk = (current: unknown): unknown => {
    if (seen++ === wanted) return applied(current, change, value);
    if (Array.isArray(current)) return current.map(walk).filter((item) => item !== undefined);
    if (!isObject(current)) return current;
    return Object.fromEntries(
      Object.entries(current).map(([key, item]) => [key, walk(item)])
        .filter(([, item]) => item !== undefined),
    );
  };
  return walk(root) ?? null;
}

function applied(current: unknown, change: ValueSpoil["change"], value: unknown): unknown {
  switch (change) {
    case "replace":
      return value;
    case "drop":
      return undefined;
    case "add":
      if (Array.isArray(current)) return [...current, value];
      return isObject(current) ? { ...current, unexpected: value } : value;
    case "repeat":
      return Array.isArray(current) ? Array.from({ length: 3 }, () => current).flat() : [current];
    case "wrap":
      return { value: current };
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !(value instanceof Uint8Array);
}

function countNodes(value: unknown): number {
  if (!isObject(value)) return 1;
  return Object.values(value).reduce<number>((sum, item) => sum + countNodes(item), 1);
}

const text = (value: string) => [...new TextEncoder().encode(value)];

/** Bytes that mean something to a parser of JSON, of MessagePack, or of neither. */
const FRAGMENTS: readonly (readonly number[])[] = [
  ...['"', "{", "}", "[", "]", ",", ":", "\\", "-", "e", ".", "\\ud800", "\\u0000", "null", "NaN"],
  ...["1e400", "-1e400", "9007199254740993", "01", "0x1", "//", "/**/", "'", "\uFEFF", "\u2028"],
  ...[
    '"__proto__":{},',
    '"topic":"orders",',
    "[".repeat(100),
    '{"a":'.repeat(100),
    "9".repeat(5_000),
  ],
].map(text).concat([
  [0xdd, 0xff, 0xff, 0xff, 0xff],
  [0xdf, 0xff, 0xff, 0xff, 0xff],
  [0xdb, 0xff, 0xff, 0xff, 0xff],
  [0xc6, 0x7f, 0xff, 0xff, 0xff],
  [0xdc, 0xff, 0xff],
  [0xde, 0x00, 0x02],
  [0xc1],
  [0xc4, 0x01, 0x00],
  [0xc7, 0x02, 0x05, 0x00, 0x00],
  [0xd6, 0xff, 0x00, 0x00, 0x00, 0x00],
  [0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0],
  [0xca, 0x7f, 0x80, 0, 0],
  [0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0],
  [0x81, 0xa9, ...text("__proto__"), 0x80],
  Array.from({ length: 100 }, () => 0x91),
  [0xff],
  [0xed, 0xa0, 0x80],
  [0xc0, 0x80],
  [0],
]);

/** One change of some bytes; `at` counts from the start, round and round. */
export interface ByteSpoil {
  readonly at: number;
  readonly change: "set" | "insert" | "cut" | "remove" | "double";
  readonly bytes: readonly number[];
}

export const byteSpoil: fc.Arbitrary<ByteSpoil> = fc.record({
  at: fc.nat(4_000),
  change: fc.constantFrom("set", "set", "insert", "insert", "cut", "remove", "double"),
  bytes: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom(...FRAGMENTS) },
    { weight: 1, arbitrary: fc.array(fc.nat(255), { minLength: 1, maxLength: 8 }) },
  ),
});

/** A copy of `bytes` after each of `spoils`. */
export function spoiledBytes(
  bytes: Uint8Array,
  spoils: readonly ByteSpoil[],
): Uint8Array<ArrayBuffer> {
  return spoils.reduce((current, { at, change, bytes: put }) => {
    const place = at % (current.length + 1);
    const [before, after] = [current.subarray(0, place), current.subarray(place)];
    switch (change) {
      case "set":
        return Uint8Array.of(...before, ...put, ...after.subarray(put.length));
      case "insert":
        return Uint8Array.of(...before, ...put, ...after);
      case "cut":
        return before.slice();
      case "remove":
        return Uint8Array.of(...before, ...after.subarray(put.length));
      case "double":
        return Uint8Array.of(...before, ...before, ...after);
    }
  }, new Uint8Array(bytes));
}
