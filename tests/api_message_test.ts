// Owns the tests of what bodies and messages may be: strict parsing as properties, and the way of a message in and out.
// Refuses to own routes.
import assert from "node:assert/strict";
import { encode } from "@msgpack/msgpack";
import { crc32c } from "@node-rs/crc32";
import fc from "fast-check";
import { incomingMessageSchema, recordOf } from "../api/incoming_message.ts";
import { scanJson } from "../api/json_scan.ts";
import { parseJson } from "../api/json_text.ts";
import { DEFAULT_API_LIMITS } from "../api/limits.ts";
import { messageFromRecord, messageJson, messageSchema } from "../api/message.ts";
import { parseMsgpack } from "../api/msgpack_bytes.ts";
import { decodeBatch, type DecodedRecord } from "../storage/format/decode.ts";
import { encodeBatch } from "../storage/format/encode.ts";

const LIMITS = { maxDepth: 64 };
const PLACE = { topic: "orders", partition: 3 };
const bytes = (text: string) => new TextEncoder().encode(text);

/** JSON that may be published: no `__proto__`, well-formed text, integers that a double holds. */
const publishable = fc.jsonValue({ depthSize: "small", stringUnit: "grapheme" })
  .filter((value) => !JSON.stringify(value).includes("__proto__"));

/** A message as a reader gets it that was published as given. */
function roundTrip(message: Record<string, unknown>): { data: unknown; json: unknown } {
  const incoming = incomingMessageSchema.parse(message);
  const record = recordOf(incoming, 0, {
    limits: DEFAULT_API_LIMITS,
    maxMessageBytes: 1_048_576,
    timestamp: 7,
    traceparent: null,
  });
  const batch = encodeBatch([record], { crc32c });
  const [decoded] = decodeBatch(batch, 0, { maxDecompressedBytes: 1 });
  return {
    data: messageFromRecord(decoded!, PLACE),
    json: JSON.parse(messageJson(decoded!, PLACE)),
  };
}

function stored(fields: Partial<DecodedRecord>): DecodedRecord {
  return { offset: 5, timestamp: 7, key: null, value: null, headers: [], ...fields };
}

Deno.test("whatever JSON is published comes back as the same JSON, as data and as text", () => {
  fc.assert(fc.property(
    publishable,
    fc.option(fc.string({ unit: "grapheme" }), { nil: null }),
    fc.dictionary(fc.string({ unit: "grapheme", minLength: 1 }), fc.string({ unit: "grapheme" })),
    (value, key, given) => {
      const headers = Object.fromEntries(
        Object.entries(given).filter(([name]) => !/^(__proto__|content-type)$/i.test(name)),
      );
      const { data, json } = roundTrip({ key, value, headers });
      const expected = JSON.parse(JSON.stringify(value));
      const isJson = typeof value !== "string" && value !== null;
      assert.deepEqual(json, {
        ...PLACE,
        offset: 0,
        timestamp: 7,
        key,
        value: expected,
        headers: isJson ? { ...headers, "content-type": "application/json" } : headers,
      });
      assert.deepEqual(JSON.parse(JSON.stringify(data)), json);
      messageSchema.parse(data);
    },
  ));
});

Deno.test("whatever bytes are published come back as those bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 50 }), (value) => {
    const { json } = roundTrip({ valueBase64: value.toBase64() });
    const { value: text, valueBase64 } = json as { value?: string; valueBase64?: string };
    const back = valueBase64 === undefined ? bytes(text!) : Uint8Array.fromBase64(valueBase64);
    assert.deepEqual(back, new Uint8Array(value));
  }));
});

Deno.test("what no JSON client could have published comes back without loss", () => {
  const invalid = new Uint8Array([0xff, 0xfe]);
  const json = (text: string) =>
    messageFromRecord(
      stored({ value: bytes(text), headers: [["Content-Type", bytes("application/json; v=1")]] }),
      PLACE,
    );
  assert.deepEqual(json('{"id":12345678901234567890}').value, '{"id":12345678901234567890}');
  assert.equal(
    json("[".repeat(10_000) + "]".repeat(10_000)).value,
    "[".repeat(10_000) + "]".repeat(10_000),
  );
  assert.equal(json("{broken").value, "{broken");
  assert.deepEqual(json('{"a": 1}').value, { a: 1 });
  assert.equal(json("null").value, null);
  const odd = stored({
    key: invalid,
    value: invalid,
    headers: [["a", invalid], ["b", null], ["__proto__", bytes("x")], ["c", bytes("é")]],
  });
  const message = messageFromRecord(odd, { ...PLACE, attempt: 2 });
  assert.equal(
    JSON.stringify(message),
    '{"topic":"orders","partition":3,"offset":5,"timestamp":7,"key":null,"keyBase64":"//4=",' +
      '"valueBase64":"//4=","headers":{"b":"","__proto__":"x","c":"é"},"headersBase64":{"a":"//4="},"attempt":2}',
  );
  assert.equal(messageJson(odd, { ...PLACE, attempt: 2 }), JSON.stringify(message));
});

Deno.test("numbers of JSON values go out digit for digit as they came in", () => {
  const record = stored({
    value: bytes('{"a":1.0,"b":1e2,"c":100000000000000000000}'),
    headers: [["content-type", bytes("application/json")]],
  });
  assert.ok(
    messageJson(record, PLACE).includes('"value":{"a":1.0,"b":1e2,"c":100000000000000000000}'),
  );
});

Deno.test("strict parsing takes every JSON text that says one thing, however it is written", () => {
  fc.assert(fc.property(publishable, fc.constantFrom(0, 1, "\t", " \n"), (value, space) => {
    const text = JSON.stringify(value, null, space).replaceAll('":', '" \n:');
    assert.deepEqual(parseJson(bytes(text), LIMITS), JSON.parse(text));
  }));
});

Deno.test("keys are counted right whatever texts hold", () => {
  const tricky = fc.string({ unit: fc.constantFrom('"', "\\", ":", "a", "{", ",", " ") });
  const keysOf = (value: unknown): number => {
    if (typeof value !== "object" || value === null) return 0;
    const within = Object.values(value).reduce((sum: number, item) => sum + keysOf(item), 0);
    return within + (Array.isArray(value) ? 0 : Object.keys(value).length);
  };
  fc.assert(fc.property(
    fc.dictionary(tricky, fc.oneof(tricky, fc.dictionary(tricky, tricky), fc.array(tricky))),
    (value) => assert.equal(scanJson(JSON.stringify(value), LIMITS).keyCount, keysOf(value)),
  ));
});

Deno.test("a duplicate key is found wherever it is", () => {
  fc.assert(fc.property(publishable, fc.string({ unit: "grapheme" }), (value, key) => {
    const name = JSON.stringify(key);
    const text = `[{"x":[{${name}:${JSON.stringify(value)},"\\u0000other":0,${name}:1}]}]`;
    fc.pre(key !== "__proto__");
    assert.throws(() => parseJson(bytes(text), LIMITS), /duplicate key/);
  }));
});

Deno.test("strict parsing of MessagePack takes what its encoder makes", () => {
  fc.assert(fc.property(publishable, (value) => {
    const data = JSON.parse(JSON.stringify(value));
    assert.deepEqual(parseMsgpack(encode(data), LIMITS), data);
  }));
});

Deno.test("integers that come back as they were given are taken in both formats, others are not", () => {
  const exact = [2 ** 53 - 1, -(2 ** 53 - 1), 2 ** 53, 2 ** 60, 1e300, -1e20, 4_294_967_296];
  assert.deepEqual(parseJson(bytes(JSON.stringify(exact)), LIMITS), exact);
  assert.deepEqual(parseMsgpack(encode(exact), LIMITS), exact);
  const long = `[1${"0".repeat(25)},-12${"0".repeat(22)}]`;
  assert.deepEqual(parseJson(bytes(long), LIMITS), [1e25, -1.2e23]);
  const int64 = (value: bigint) => parseMsgpack(encode([value], { useBigInt64: true }), LIMITS);
  assert.deepEqual(int64(2n ** 53n), [2 ** 53]);
  assert.deepEqual(int64(1_152_921_504_606_847_000n), [2 ** 60]);
  // A double holds 2^60, but its shortest text is that of another integer.
  assert.throws(() => int64(2n ** 60n), /cannot carry/);
  assert.throws(() => parseJson(bytes(`[${2n ** 60n}]`), LIMITS), /cannot carry/);
  assert.throws(() => parseJson(bytes(`[1${"0".repeat(24)}1]`), LIMITS), /cannot carry/);
});
