// Owns the table of rubbish: whatever nonsense comes in, a clear 4xx problem goes out and nothing is stored.
// Refuses to own errors that a sensible caller can make (they stand beside their routes' tests).
import assert from "node:assert/strict";
import { encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { type Answer, type ApiUnderTest, apiUnderTest, FORMATS } from "./support/api_app.ts";

const JSON_HEADERS = { "content-type": "application/json" };
const MSGPACK_HEADERS = { "content-type": "application/msgpack" };
const PUBLISH = "/api/messages:publish";

async function withTopic(): Promise<ApiUnderTest> {
  const api = await apiUnderTest();
  await api.ask("POST", "/api/topics", { body: { name: "orders" } });
  return api;
}

async function checkRefused(api: ApiUnderTest, ask: () => Promise<Answer>): Promise<Answer> {
  const answer = await ask();
  assert.ok(answer.status >= 400 && answer.status < 500, `answered ${answer.status}`);
  assert.equal(answer.body.retryable, false);
  assert.deepEqual(await api.stored(), { "orders/0": 0 });
  assert.deepEqual(api.faults, []);
  return answer;
}

const bytes = (text: string) => new TextEncoder().encode(text);
const message = (value: string) => `{"topic":"orders","messages":[{"value":${value}}]}`;

const fields = (count: number) =>
  Array.from({ length: count }, (_, index) => `"f${index}":""`).join(",");

const JSON_BODIES: [string, BodyInit, (string | number)?][] = [
  ["empty", new Uint8Array(0)],
  ["white space", "  \n"],
  ["not JSON", "topic=orders"],
  ["half of it", '{"topic":"orders","messages":[{"value":"a'],
  ["two of them", `${message('"a"')}${message('"b"')}`],
  ["a comment", `/* x */${message('"a"')}`],
  ["a trailing comma", '{"topic":"orders","messages":[{"value":"a"},]}'],
  ["a byte order mark", `\uFEFF${message('"a"')}`],
  ["null", "null"],
  ["a list", "[]"],
  ["a text", '"orders"'],
  ["a number", "1"],
  ["NaN", message("NaN")],
  ["Infinity", message("-Infinity")],
  ["1e400", message("1e400"), "messages[0].value"],
  ["1e400 deep inside", message('{"a":[1,{"b":-1e400}]}'), "messages[0].value.a[1].b"],
  ["2^53 + 1", message("9007199254740993"), "messages[0].value"],
  [
    "2^53 + 1 behind integers that are exact",
    message("[1e20,9007199254740992,-9007199254740993]"),
    "messages[0].value[2]",
  ],
  [
    "an integer of 30 digits",
    message('{"id":123456789012345678901234567890}'),
    "messages[0].value.id",
  ],
  ["0x10", message("0x10")],
  ["a leading zero", message("01")],
  ["a depth of 10,000", message("[".repeat(10_000) + "]".repeat(10_000))],
  ["a depth of 10,000 objects", message('{"a":'.repeat(10_000) + "1" + "}".repeat(10_000))],
  ["a depth of 10,000 that is never closed", "[".repeat(10_000)],
  [
    "a depth of one too many",
    message("[".repeat(62) + "]".repeat(62)),
    "messages[0].value" + "[0]".repeat(61),
  ],
  ["__proto__ beside the topic", '{"__proto__":{"topic":"orders"},"messages":[{}]}', "__proto__"],
  [
    "__proto__ in a message",
    '{"topic":"orders","messages":[{"__proto__":{"value":1}}]}',
    "messages[0].__proto__",
  ],
  ["__proto__ in headers", '{"topic":"orders","messages":[{"headers":{"__proto__":"x"}}]}'],
  ["__proto__ in a value", message('{"__proto__":{"admin":true}}')],
  ["an escaped __proto__", message('{"\\u005f_proto__":1}')],
  ["constructor beside the topic", '{"topic":"orders","constructor":{},"messages":[{}]}'],
  ["a duplicate topic", '{"topic":"other","topic":"orders","messages":[{}]}'],
  ["a duplicate key in a message", '{"topic":"orders","messages":[{"value":"a","value":"b"}]}'],
  [
    "a duplicate key with an escape",
    '{"topic":"orders","messages":[{"value":"a","v\\u0061lue":"b"}]}',
  ],
  ["a duplicate header", '{"topic":"orders","messages":[{"headers":{"a":"1","a":"2"}}]}'],
  ["a duplicate key in a value", message('{"a":{"b":1,"c":":","b" : 1}}')],
  ["a lone surrogate in a value", message('"\\ud800"'), "messages[0].value"],
  [
    "a lone surrogate in a key",
    '{"topic":"orders","messages":[{"key":"a\\udc00"}]}',
    "messages[0].key",
  ],
  ["a lone surrogate in a name of a value", message('{"\\ud800":1}')],
  [
    "a lone surrogate in a header",
    '{"topic":"orders","messages":[{"headers":{"h":"\\udfff"}}]}',
    "messages[0].headers.h",
  ],
  [
    "invalid UTF-8",
    new Uint8Array([...bytes('{"topic":"orders","messages":[{"value":"'), 0xff, ...bytes('"}]}')]),
  ],
  [
    "UTF-8 of a surrogate",
    new Uint8Array([
      ...bytes('{"topic":"orders","messages":[{"value":"'),
      0xed,
      0xa0,
      0x80,
      ...bytes('"}]}'),
    ]),
  ],
  [
    "UTF-16",
    new Uint8Array(new Uint16Array([...message('"a"')].map((c) => c.charCodeAt(0))).buffer),
  ],
  ["a control character in a text", message('"\u0000"')],
  ["a message of 10 MB", message(`"${"x".repeat(10_000_000)}"`), 413],
  [
    "two million empty messages",
    `{"topic":"orders","messages":[${"{},".repeat(2_000_000)}{}]}`,
    413,
  ],
  ["two million brackets", "[".repeat(2_000_000)],
  [
    "a message of 10,001 fields",
    `{"topic":"orders","messages":[{${fields(10_001)}}]}`,
    "messages[0]",
  ],
  [
    "10,001 headers",
    `{"topic":"orders","messages":[{"headers":{${fields(10_001)}}}]}`,
    "messages[0].headers",
  ],
  ["a body of 10,001 fields", `{${fields(10_001)}}`, ""],
  ["a body of 17 MB", message(`"${"x".repeat(17_000_000)}"`), 413],
  ["a name that is a path", '{"topic":"../x","messages":[{}]}', "topic"],
  ["a name with a NUL", '{"topic":"orders\\u0000","messages":[{}]}', "topic"],
  ["a name in another alphabet", '{"topic":"оrders","messages":[{}]}', "topic"],
  ["messages that are no list", '{"topic":"orders","messages":{"0":{},"length":1}}', "messages"],
  ["a message that is no object", '{"topic":"orders","messages":["a"]}', "messages[0]"],
  [
    "a partition of 2^31",
    '{"topic":"orders","messages":[{"partition":2147483648}]}',
    "messages[0].partition",
  ],
  [
    "a partition as text",
    '{"topic":"orders","messages":[{"partition":"0"}]}',
    "messages[0].partition",
  ],
  [
    "a time of 1e400",
    '{"topic":"orders","messages":[{"timestamp":1e400}]}',
    "messages[0].timestamp",
  ],
  [
    "a time of 2^53",
    '{"topic":"orders","messages":[{"timestamp":9007199254740992}]}',
    "messages[0].timestamp",
  ],
];

Deno.test("rubbish JSON is refused", async (test) => {
  const api = await withTopic();
  for (const [name, raw, expected] of JSON_BODIES) {
    await test.step(name, async () => {
      const { status, body } = await checkRefused(
        api,
        () => api.ask("POST", PUBLISH, { raw, headers: JSON_HEADERS }),
      );
      if (typeof expected === "number") return assert.equal(status, expected);
      assert.deepEqual([status, body.code], [400, "INVALID_REQUEST"]);
      if (expected !== undefined) assert.equal(body.errors[0].path, expected);
      assert.ok(JSON.stringify(body).length < 3_000, "a problem repeats little of what came in");
    });
  }
  await api.close();
});

/** `{"topic":"orders","messages":[{"value": …}]}` around the bytes of one MessagePack value. */
function packed(value: readonly number[]): Uint8Array<ArrayBuffer> {
  const around = encode({ topic: "orders", messages: [{ value: 0 }] });
  return new Uint8Array([...around.subarray(0, -1), ...value]);
}

const text = (value: string) => [...encode(value)];

const MSGPACK_BODIES: [string, Uint8Array<ArrayBuffer>][] = [
  ["empty", new Uint8Array(0)],
  ["JSON", bytes(message('"a"'))],
  ["the type that is never used", packed([0xc1])],
  ["cut off", packed([...text("abc")].slice(0, -1))],
  ["something after the end", packed([0xc0, 0xc0])],
  ["a list that claims 2^32 - 1 items", packed([0xdd, 0xff, 0xff, 0xff, 0xff])],
  ["a map that claims 2^32 - 1 items", packed([0xdf, 0xff, 0xff, 0xff, 0xff])],
  ["a text that claims 2^32 - 1 bytes", packed([0xdb, 0xff, 0xff, 0xff, 0xff])],
  ["bytes that claim 2^32 - 1 bytes", packed([0xc6, 0xff, 0xff, 0xff, 0xff])],
  [
    "lists within lists that together claim more than is there",
    packed([0xdc, 0, 4, 0xdc, 0, 4, 1, 1, 1, 1]),
  ],
  ["a depth of 10,000", packed([...Array(10_000).fill(0x91), 0xc0])],
  ["a depth of 10,000 maps", packed([...Array(10_000).fill([0x81, 0xa1, 0x61]).flat(), 0xc0])],
  ["two million empty maps", packed([0xdd, 0, 0x1e, 0x84, 0x80, ...Array(2_000_000).fill(0x80)])],
  ["a key that is a number", packed([0x81, 0x01, 0x01])],
  ["a key that is a map", packed([0x81, 0x80, 0x01])],
  ["a key twice", packed([0x82, 0xa1, 0x61, 0x01, 0xa1, 0x61, 0x02])],
  ["__proto__", packed([0x81, ...text("__proto__"), 0x01])],
  ["a timestamp", packed([0xd6, 0xff, 0, 0, 0, 0])],
  ["an extension", packed([0xc7, 2, 5, 0, 0])],
  ["NaN", packed([0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0])],
  ["Infinity", packed([0xca, 0x7f, 0x80, 0, 0])],
  ["2^53 + 1", packed([0xcf, 0, 0x20, 0, 0, 0, 0, 0, 1])],
  ["-(2^53 + 1)", packed([0xd3, 0xff, 0xdf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
  ["invalid UTF-8", packed([0xa2, 0xc3, 0x28])],
  ["a long text of invalid UTF-8", packed([0xd9, 100, ...Array(99).fill(0x61), 0xff])],
  ["UTF-8 of a surrogate", packed([0xa3, 0xed, 0xa0, 0x80])],
  ["bytes within a value", packed([0x91, 0xc4, 1, 0])],
  ["bytes as a key", encode({ topic: "orders", messages: [{ key: new Uint8Array(1) }] })],
];

Deno.test("rubbish MessagePack is refused", async (test) => {
  const api = await withTopic();
  for (const [name, raw] of MSGPACK_BODIES) {
    await test.step(name, async () => {
      const { body } = await checkRefused(
        api,
        () => api.ask("POST", PUBLISH, { raw, headers: MSGPACK_HEADERS, format: "msgpack" }),
      );
      assert.ok(["INVALID_REQUEST", "REQUEST_TOO_LARGE"].includes(body.code), body.code);
    });
  }
  await api.close();
});

Deno.test("a value may be of any shape, as long as the message is not too large", async () => {
  const api = await withTopic();
  const values = [
    Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`k${index}`, index])),
    Array.from({ length: 50_000 }, (_, index) => index),
    { deep: { list: Array.from({ length: 20_000 }, () => ({})) } },
  ];
  for (const format of FORMATS) {
    const body = { topic: "orders", messages: values.map((value) => ({ value })) };
    assert.equal((await api.ask("POST", PUBLISH, { body, format })).status, 200);
  }
  const { body } = await api.ask(
    "GET",
    "/api/topics/orders/partitions/0/messages?maxBytes=8000000",
  );
  const read = body.messages.map((message: { value: unknown }) => message.value);
  assert.deepEqual(read, [...values, ...values]);
  await api.close();
});

Deno.test("rubbish in paths is refused", async (test) => {
  const api = await withTopic();
  const names = ["../x", "..%2fx", "%2e%2e%2fx", "%2e%2e", "%2E", ".", "a%00b", "%ff", "%E0%A4%A"];
  names.push("a%20b", "a%2Fb", "%c3%a9", "a".repeat(250), "a%0ab", "a;b", "a%253a", "%");
  const paths = [
    (name: string) => `/api/topics/${name}`,
    (name: string) => `/api/topics/${name}/partitions/0/messages`,
    (name: string) => `/api/groups/${name}/lag`,
  ];
  for (const name of names) {
    await test.step(name.slice(0, 20), async () => {
      for (const path of paths) {
        const { status, body } = await checkRefused(api, () => api.ask("GET", path(name)));
        assert.ok(status === 400 || status === 404, `${path(name)} answered ${status}`);
        assert.ok(status === 400 || /NOT_FOUND|UNKNOWN_/.test(body.code), body.code);
      }
    });
  }
  for (
    const partition of ["-1", "1.5", "1e0", "0x0", "%20", "NaN", "2147483648", "9".repeat(400)]
  ) {
    await test.step(`partition ${partition.slice(0, 20)}`, async () => {
      const path = `/api/topics/orders/partitions/${partition}/messages`;
      const { body } = await checkRefused(api, () => api.ask("GET", path));
      assert.equal(body.errors[0].path, "partition");
    });
  }
  await api.close();
});

Deno.test("whatever bytes come in as a body, the answer is a 4xx problem or what was meant is stored", async () => {
  const api = await withTopic();
  const good = bytes(message('{"a":[1,"é"]}'));
  const packedGood = encode({ topic: "orders", messages: [{ value: { a: [1, "é"] } }] });
  const mutated = (from: Uint8Array) =>
    fc.array(fc.tuple(fc.nat(from.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 })
      .map((changes) => {
        const copy = new Uint8Array(from);
        for (const [at, byte] of changes) copy[at] = byte;
        return copy;
      });
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(fc.uint8Array({ maxLength: 40 }), mutated(good), mutated(packedGood)),
      fc.boolean(),
      async (raw, isJson) => {
        const headers = isJson ? JSON_HEADERS : MSGPACK_HEADERS;
        const { status } = await api.ask("POST", PUBLISH, { raw: new Uint8Array(raw), headers });
        assert.ok(status === 200 || (status >= 400 && status < 500), `answered ${status}`);
      },
    ),
    { numRuns: 400 },
  );
  assert.deepEqual(api.faults, []);
  await api.close();
});
