// Owns proof that strangers on the port can neither stop a broker nor fill its memory nor leave anything behind.
// Each gets a clear problem as its answer, or, where it does not speak HTTP, a closed socket; others are served meanwhile.
import assert from "node:assert/strict";
import { call, pause } from "./support/api_calls.ts";
import { besideOthers, createTopicOfOthers } from "./support/beside_others.ts";
import { type BrokerProcess, startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { createTopic } from "./support/numbered_load.ts";
import { exchange, openSocket, type RawAnswer, request } from "./support/raw_http.ts";

const MIB = 1_048_576;
/** A broker at rest has about 90 MiB; what strangers do to it must stay within a few bodies of the largest size. */
const MAX_RESIDENT_BYTES = 400 * MIB;
const SILENT_SOCKETS = 500;
const MAX_BODY_BYTES = 16 * MIB;
/** What a client can have sent before it sees that it was refused: one body and the sockets' buffers. */
const MAX_SENT_BYTES = MAX_BODY_BYTES + 16 * MIB;
const JSON_TYPE = { "content-type": "application/json" };

interface Scene {
  readonly broker: BrokerProcess;
  readonly dataDir: string;
}

/** Runs `test` while somebody else publishes; then nothing of the test's may be there, and memory within its bound. */
async function beside(test: (scene: Scene) => Promise<void>): Promise<void> {
  await withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({ dataDir, args: ["--drain-ms=500"] });
    await createTopic(broker.url, { name: "t" });
    await createTopicOfOthers(broker);
    const before = await stored(broker, dataDir);
    const bounds = { everyMs: 10, maxResidentBytes: MAX_RESIDENT_BYTES };
    await besideOthers(broker, () => test({ broker, dataDir }), bounds);
    assert.deepEqual(await stored(broker, dataDir), before);
  });
}

/** All that a request could have left behind. */
async function stored({ url }: BrokerProcess, dataDir: string) {
  const topics = (await call(url, "/api/topics?limit=1000")).body.topics;
  const groups = (await call(url, "/api/groups?limit=1000")).body.groups;
  const directories: string[] = [];
  for await (const { name } of Deno.readDir(`${dataDir}/topics`)) directories.push(name);
  return {
    topics: topics.map(({ name }: { name: string }) => name).sort(),
    groups,
    end: (await call(url, "/api/topics/t")).body.partitions[0].logEndOffset,
    directories: directories.sort(),
  };
}

function assertProblem(answer: RawAnswer, what: string): void {
  const { status, headers, body } = answer;
  const said = `${what}: ${status} ${body.slice(0, 500)}`;
  assert.ok(status >= 400 && status < 500, said);
  assert.equal(headers.get("content-type"), "application/problem+json", said);
  const problem = JSON.parse(body);
  assert.match(problem.code, /^[A-Z][A-Z_]*$/, said);
  assert.deepEqual([problem.status, problem.retryable], [status, false], said);
  assert.ok(problem.detail.length > 0 && problem.requestId.length > 0, said);
}

/** A publish of one message in JSON, with `text` in place of the message. */
const publishOf = (text: string, rest = "") => `{"topic":"t","messages":[${text}]${rest}}`;
const deep = (depth: number) => "[".repeat(depth) + "]".repeat(depth);

Deno.test("broker answers every wrong name, number, body and type with a problem and stores nothing", async () => {
  const badNames = ["../x", "..", ".", "", "a/b", "a\\u0000b", "x".repeat(250), "ünïcode", "a b"];
  const badNumbers = ["1e400", "-1e400", "-1", "1.5", "NaN", "1e999999", "9007199254740993", '"0"'];
  const badOffsets = [
    ...[
      "1e400",
      "-1",
      "1.5",
      "NaN",
      "Infinity",
      "9007199254740993",
      "0x10",
      "",
      "+1",
      "%00",
      "1e3",
    ],
    ...["@", "@-1", "@1e400", "@9999-99-99", "@NaN", "earliest%20", "null", "1;drop"],
  ];
  const posts: [string, string, string | Uint8Array, Record<string, string>?][] = [
    ...badNames.map((name) => ["/api/topics", `name ${name}`, `{"name":"${name}"}`] as const)
      .map(([path, what, body]): [string, string, string] => [path, what, body]),
    ["/api/topics", "an internal name", '{"name":"__groups2"}'],
    ["/api/topics", "a name twice", '{"name":"n1","name":"n2"}'],
    ["/api/topics", "a prototype", '{"name":"n1","__proto__":{"partitions":5}}'],
    ["/api/topics", "a constructor", '{"name":"n1","constructor":{"prototype":{}}}'],
    ...["partitions", "retentionBytes", "maxMessageBytes", "segmentBytes"].flatMap((field) =>
      ["1e400", "-1", "1.5", '"1"', "[]", "1e16"].map((number): [string, string, string] => [
        "/api/topics",
        `${field} ${number}`,
        `{"name":"n1","${field}":${number}}`,
      ])
    ),
    ...badNumbers.flatMap((number): [string, string, string][] => [
      ["/api/messages:publish", `partition ${number}`, publishOf(`{"partition":${number}}`)],
      ["/api/messages:publish", `all to ${number}`, publishOf("{}", `,"partition":${number}`)],
      ["/api/messages:publish", `timestamp ${number}`, publishOf(`{"timestamp":${number}}`)],
      [
        "/api/offsets:commit",
        `commit ${number}`,
        `{"groupId":"g","offsets":[{"topic":"t","partition":0,"offset":${number}}]}`,
      ],
    ]),
    ["/api/offsets:commit", "a group ../g", '{"groupId":"../g","offsets":[]}'],
    [
      "/api/offsets:commit",
      "a commit beyond the end",
      '{"groupId":"g","offsets":[{"topic":"t","partition":0,"offset":9007199254740991}]}',
    ],
    ["/api/messages:publish", "no such topic", '{"topic":"../t","messages":[{"value":1}]}'],
    ["/api/messages:publish", "no messages", publishOf("")],
    ["/api/messages:publish", "too many messages", publishOf(Array(10_001).fill("{}").join())],
    ["/api/messages:publish", "a number in a value", publishOf('{"value":1e400}')],
    ["/api/messages:publish", "a key twice", publishOf('{"value":1,"value":2}')],
    ["/api/messages:publish", "a prototype in it", publishOf('{"__proto__":{"value":1}}')],
    ["/api/messages:publish", "depth", publishOf(`{"value":${deep(10_000)}}`)],
    ["/api/messages:publish", "more depth", publishOf(`{"value":${deep(4_000_000)}}`)],
    ["/api/messages:publish", "a large message", publishOf(`{"value":"${"x".repeat(MIB + 1)}"}`)],
    ["/api/messages:publish", "no base64", publishOf('{"valueBase64":"***"}')],
    ["/api/messages:publish", "headers of numbers", publishOf('{"headers":{"a":1}}')],
    ["/api/messages:publish", "NaN", publishOf('{"value":NaN}')],
    ["/api/messages:publish", "a comma too many", publishOf('{"value":1},')],
    ["/api/messages:publish", "half of it", '{"topic":"t","messages":[{"value":1'],
    ["/api/messages:publish", "a second value", `${publishOf('{"value":1}')} {}`],
    ["/api/messages:publish", "nothing", ""],
    ["/api/messages:publish", "a string", '"t"'],
    ["/api/messages:publish", "null", "null"],
    ["/api/messages:publish", "an unknown field", publishOf("{}", ',"ack":"all"')],
    ["/api/messages:publish", "invalid UTF-8", withByte(publishOf('{"value":"?"}'), 0xff)],
    ["/api/messages:publish", "a lone surrogate", withByte(publishOf('{"value":"?"}'), 0xed)],
    ["/api/messages:publish", "text", publishOf("{}"), { "content-type": "text/plain" }],
    ["/api/messages:publish", "XML", "<a/>", { "content-type": "application/xml" }],
    ["/api/messages:publish", "a form", "a=b", {
      "content-type": "application/x-www-form-urlencoded",
    }],
    ["/api/messages:publish", "a type of rubbish", publishOf("{}"), { "content-type": ";;/,," }],
    ...[
      [0xdd, 0xff, 0xff, 0xff, 0xff],
      [0xdf, 0xff, 0xff, 0xff, 0xff, 0xa1],
      [0xdb, 0xff, 0xff, 0xff, 0xff, 0x61],
      [0xc1],
      Array(100_000).fill(0x91),
    ].map((bytes, index): [string, string, Uint8Array, Record<string, string>] => [
      "/api/messages:publish",
      `MessagePack of rubbish ${index}`,
      new Uint8Array(bytes),
      { "content-type": "application/msgpack" },
    ]),
    ...[0, 1, 60, 61, 1_000].map((size): [string, string, Uint8Array, Record<string, string>] => [
      "/api/topics/t/partitions/0/messages",
      `a record batch of ${size} times 255`,
      new Uint8Array(size).fill(255),
      { "content-type": "application/vnd.waybill.batch" },
    ]),
  ];
  const encoded = ["%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%00", "%zz", "%ff%fe", "a%2fb"];
  const gets = [
    ...encoded.map((name) => `/api/topics/${name}`),
    ...encoded.map((name) => `/api/groups/${name}/lag`),
    "/api/topics/../../etc/passwd",
    ...["-1", "1", "1.5", "1e400", "NaN", "4294967296", "", "0x0", "%30%00"].map((partition) =>
      `/api/topics/t/partitions/${partition}/messages?offset=0`
    ),
    ...badOffsets.map((offset) => `/api/topics/t/partitions/0/messages?offset=${offset}`),
    ...["maxMessages", "maxBytes", "waitMs"].flatMap((name) =>
      ["-1", "1.5", "1e400", "NaN", "99999999999"].map((number) =>
        `/api/topics/t/partitions/0/messages?offset=0&${name}=${number}`
      )
    ),
    "/api/topics/t/partitions/0/messages?offset=0&offset=1",
    "/api/topics/t/partitions/0/messages?offset=0&unknown=1",
    "/api/topics?limit=-1",
    "/api/topics?cursor=%ff",
    "/nowhere",
  ];
  await beside(async ({ broker }) => {
    const wrong: string[] = [];
    const expectProblem = (answer: RawAnswer, what: string) => {
      try {
        assertProblem(answer, what);
      } catch (error) {
        wrong.push((error as Error).message);
      }
    };
    for (const [path, what, body, headers = JSON_TYPE] of posts) {
      const answer = await exchange(broker.url, request(`POST ${path}`, { body, headers }));
      expectProblem(answer, `POST ${path} with ${what}`);
    }
    for (const path of gets) {
      expectProblem(await exchange(broker.url, request(`GET ${path}`)), `GET ${path}`);
    }
    for (const method of ["PUT", "DELETE", "TRACE", "RUBBISH"]) {
      expectProblem(await exchange(broker.url, request(`${method} /api/topics`)), method);
    }
    assert.deepEqual(wrong, []);
  });
});

Deno.test("broker refuses bodies that are too large, and endless ones, before they fill its memory", async () => {
  await beside(async ({ broker }) => {
    const large = new Uint8Array(20_000_000).fill(32);
    const headers = JSON_TYPE;
    const whole = request("POST /api/messages:publish", { body: large, headers });
    const pieces = () => slices(whole, 65_536);
    for (
      const answer of await Promise.all(
        Array.from({ length: 8 }, () => exchange(broker.url, pieces())),
      )
    ) {
      assertProblem(answer, "20 MB");
      assert.equal(answer.status, 413);
    }
    const chunked = { ...JSON_TYPE, "transfer-encoding": "chunked" };
    const head = request("POST /api/messages:publish", { headers: chunked });
    for (
      const answer of await Promise.all(
        Array.from({ length: 8 }, () => exchange(broker.url, endless(head))),
      )
    ) {
      assertProblem(answer, "chunks without end");
      assert.equal(answer.status, 413);
      assert.ok(answer.sentBytes < MAX_SENT_BYTES, `${answer.sentBytes} bytes were taken`);
    }
  });
});

Deno.test("broker closes the socket on what is not HTTP, and answers what came before it", async () => {
  await beside(async ({ broker }) => {
    const rubbish: (string | Uint8Array)[] = [
      "\x00\x01\x02\x03\r\n\r\n",
      new Uint8Array([22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]),
      crypto.getRandomValues(new Uint8Array(65_536)),
      "GET /livez\r\n\r\n",
      "GET /livez HTTP/9.9\r\n\r\n",
      `GET /livez HTTP/1.1\r\nx: ${"a".repeat(2_000_000)}\r\n\r\n`,
      `GET /livez HTTP/1.1\r\n${"x: a\r\n".repeat(10_000)}\r\n`,
      `GET /${"a".repeat(200_000)} HTTP/1.1\r\n\r\n`,
      "POST /api/topics HTTP/1.1\r\ncontent-length: -5\r\n\r\n{}",
      "POST /api/topics HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
      "POST /api/topics HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    for (const bytes of rubbish) {
      const { status, closed } = await exchange(broker.url, bytes);
      assert.ok(status === 400 || (status === 0 && closed), `${status} to ${bytes.slice(0, 40)}`);
    }
    const after = `${"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"}RUBBISH RUBBISH\r\n\r\n`;
    assert.equal((await exchange(broker.url, after)).status, 200);
  });
});

Deno.test(`broker serves others beside ${SILENT_SOCKETS} sockets that fell silent within a request, and stops in spite of them`, async () => {
  const head =
    "POST /api/messages:publish HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n";
  const silences = [
    "",
    "POST /api/mess",
    `${head}conte`,
    `${head}content-length: 1000\r\n\r\n{"topic":"t",`,
    `${head}content-length: ${MAX_BODY_BYTES}\r\n\r\n{"topic":"t",`,
    `${head}transfer-encoding: chunked\r\n\r\n5\r\n{"to`,
  ];
  const sockets: Deno.TcpConn[] = [];
  try {
    await beside(async ({ broker }) => {
      for (let count = 0; count < SILENT_SOCKETS; count++) {
        sockets.push(await openSocket(broker.url, silences[count % silences.length]));
      }
      await pause(1_000);
    });
    await withDataDir(async (dataDir) => {
      await using broker = await startBrokerProcess({ dataDir, args: ["--drain-ms=500"] });
      for (const silence of silences) sockets.push(await openSocket(broker.url, silence));
      await pause(200);
      assert.equal((await broker.stop("SIGTERM")).code, 0);
      assert.match(broker.log(), /closed cleanly/);
    });
  } finally {
    for (const socket of sockets) socket.close();
  }
});

/** `text` with its question mark replaced by a byte. */
function withByte(text: string, byte: number): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  bytes[bytes.indexOf("?".charCodeAt(0))] = byte;
  return bytes;
}

function* slices(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** A request whose body never ends, as long as somebody takes it. */
function* endless(head: Uint8Array): Generator<Uint8Array> {
  yield head;
  const chunk = new TextEncoder().encode(`10000\r\n${" ".repeat(65_536)}\r\n`);
  while (true) yield chunk;
}
