// Owns proof on a real broker process that nothing of an encrypted topic lies in any file in clear, and what a wrong key, the
// right one again and a new one do.
import assert from "node:assert/strict";
import { type BrokerProcess, startBrokerProcess, withDataDir } from "./support/broker_process.ts";

const OLD_KEY = "1f".repeat(32);
const NEW_KEY = btoa("a new key that is 32 bytes long!");
const WRONG_KEY = "2e".repeat(32);
/** In every key, value and header that is published. */
const MARK = "never-on-disk";
const MESSAGES = 120;
const WAIT_MS = 40_000;

interface Answer {
  readonly status: number;
  // deno-lint-ignore no-explicit-any -- an answer of any route
  readonly body: any;
}

async function ask(
  { url }: BrokerProcess,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(url + path, {
    method,
    headers: { "content-type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, body: text === "" ? null : JSON.parse(text) };
}

async function until(what: string, isDone: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + WAIT_MS;
  while (!await isDone()) {
    assert.ok(performance.now() < end, `waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Paths of all files below `directory` in which `text` lies. */
async function filesWith(directory: string, text: string): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(directory)) {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory) found.push(...await filesWith(path, text));
    else if (new TextDecoder("latin1").decode(await Deno.readFile(path)).includes(text)) {
      found.push(path);
    }
  }
  return found;
}

function messages(from: number, count: number) {
  return Array.from({ length: count }, (_, index) => ({
    key: `${MARK}-key-${(from + index) % 7}`,
    value: `${MARK}-value-${from + index} ${"x".repeat(900)}`,
    headers: { note: `${MARK}-header` },
    idempotencyKey: `${MARK}-id-${from + index}`,
  }));
}

async function publish(broker: BrokerProcess, topic: string, from: number, count: number) {
  const { status, body } = await ask(broker, "POST", "/api/messages:publish", {
    topic,
    messages: messages(from, count),
  }, { "idempotency-key": `${topic}-${from}` });
  assert.equal(status, 200, JSON.stringify(body));
}

async function valuesOf(broker: BrokerProcess, topic: string): Promise<string[]> {
  const values: string[] = [];
  for (let offset = 0;;) {
    const path = `/api/topics/${topic}/partitions/0/messages?offset=${offset}&maxMessages=100`;
    const { status, body } = await ask(broker, "GET", path);
    assert.equal(status, 200, JSON.stringify(body));
    for (const { value } of body.messages) values.push(value.split(" ")[0]);
    if (body.nextOffset === body.highWatermark) return values;
    offset = body.nextOffset;
  }
}

const EXPECTED = Array.from({ length: MESSAGES }, (_, index) => `${MARK}-value-${index}`);

/** One message becomes a dead letter. */
async function killOne(broker: BrokerProcess): Promise<void> {
  const policy = { maxAttempts: 1 };
  const put = await ask(broker, "PUT", "/api/groups/workers/retry-policy", policy);
  assert.equal(put.status, 200, JSON.stringify(put.body));
  const at = { groupId: "workers", topic: "secret", partition: 0, offset: 3 };
  const why = { code: "NON_RETRYABLE", reason: "cannot" };
  const nacked = await ask(broker, "POST", "/api/messages:nack", { ...at, ...why });
  assert.equal(nacked.status, 200, JSON.stringify(nacked.body));
  await until("the dead letter", async () => {
    const { status, body } = await ask(broker, "GET", "/api/topics/dlq.secret");
    return status === 200 && (body.partitions[0]?.logEndOffset ?? 0) > 0;
  });
  const { body } = await ask(broker, "GET", "/api/topics/dlq.secret");
  assert.equal(body.encryption, "aes-256-gcm");
}

Deno.test("nothing of an encrypted topic lies in clear in any file, snapshots, dead letters, copies and the archive included", async () => {
  await withDataDir(async (dataDir) => {
    const [data, archive, keyFile] = [`${dataDir}/data`, `${dataDir}/archive`, `${dataDir}/keys`];
    await Deno.writeTextFile(keyFile, OLD_KEY);
    const args = [
      `--encryption-key-file=${keyFile}`,
      "--encrypt-internal-topics",
      `--archive-dir=${archive}`,
      "--retention-interval-ms=1000",
      "--group-snapshot-interval-ms=1000",
    ];
    {
      await using broker = await startBrokerProcess({ dataDir: data, args });
      const made = [
        { name: "secret" },
        { name: "copy" },
        { name: "state", cleanupPolicy: "compact" },
        { name: "old", archive: true, retentionBytes: 1 },
      ];
      for (const topic of made) {
        const spec = { ...topic, encryption: "aes-256-gcm", segmentBytes: 65_536 };
        const { status, body } = await ask(broker, "POST", "/api/topics", spec);
        assert.deepEqual([status, body.encryption], [201, "aes-256-gcm"], JSON.stringify(body));
        for (let from = 0; from < MESSAGES; from += 20) await publish(broker, topic.name, from, 20);
      }
      await killOne(broker);
      const replay = { topic: "secret", partition: 0, from: 0, to: 50, target: { topic: "copy" } };
      const { body: job } = await ask(broker, "POST", "/api/messages:replay", replay);
      await until(
        "the replay",
        async () =>
          (await ask(broker, "GET", `/api/replays/${job.jobId}`)).body.state === "completed",
      );
      await until("the archive", async () => {
        const { body } = await ask(broker, "GET", "/api/topics/old");
        return body.partitions[0].archivedBytes > 0;
      });
      assert.deepEqual(await valuesOf(broker, "old"), EXPECTED);
      assert.deepEqual(await valuesOf(broker, "secret"), EXPECTED);
      assert.equal((await broker.stop("SIGTERM")).code, 0);
    }
    assert.deepEqual(await filesWith(dataDir, MARK), []);
    // The same look finds what is there: the names of topics are no secret.
    assert.ok((await filesWith(data, "secret")).length > 0);
    await using again = await startBrokerProcess({ dataDir: data, args });
    assert.deepEqual(await valuesOf(again, "old"), EXPECTED);
    assert.equal((await valuesOf(again, "copy")).length, MESSAGES + 50);
    assert.equal((await valuesOf(again, "dlq.secret")).length, 1);
    await again.stop("SIGTERM");
  });
});

async function rightKeyReturns(broker: BrokerProcess, keyFile: string): Promise<void> {
  const { status, body } = await ask(broker, "GET", "/readyz");
  assert.equal(status, 503);
  assert.match(JSON.stringify(body), /secret\/0 is offline: .*does not have encryption key/);
  const path = "/api/topics/secret/partitions/0/messages?offset=0";
  const refused = await ask(broker, "GET", path);
  assert.deepEqual([refused.status, refused.body.code], [503, "ENCRYPTION_KEY_UNAVAILABLE"]);
  assert.match(refused.body.detail, /put it back into encryptionKeyFile/);
  await until("a word in the log", () => Promise.resolve(/is missing/.test(broker.log())));
  const told = broker.log().split("\n").filter((line) => /secret|restarting|KEY_UNA/.test(line));
  assert.equal(told.length, 1, told.join("\n"));
  assert.match(
    told[0]!,
    /encryption key [0-9a-f]{16} is missing: secret cannot be read or written/,
  );
  const write = { topic: "secret", messages: [{ value: "x" }] };
  assert.equal((await ask(broker, "POST", "/api/messages:publish", write)).status, 503);
  await publish(broker, "plain", 0, 5);
  await Deno.writeTextFile(keyFile, `# rotated\n${NEW_KEY}\n${OLD_KEY}\n`);
  await until(
    "the partition to come back",
    async () => (await ask(broker, "GET", "/readyz")).status === 200,
  );
  assert.deepEqual(await valuesOf(broker, "secret"), EXPECTED);
}

Deno.test("with a wrong key the topic is offline and others go on; the right key brings it back, a new one wraps, the old one can go", async () => {
  await withDataDir(async (dataDir) => {
    const [data, keyFile] = [`${dataDir}/data`, `${dataDir}/keys`];
    await Deno.writeTextFile(keyFile, OLD_KEY);
    const args = [`--encryption-key-file=${keyFile}`];
    {
      await using broker = await startBrokerProcess({ dataDir: data, args });
      for (const encryption of ["aes-256-gcm", "none"]) {
        const name = encryption === "none" ? "plain" : "secret";
        await ask(broker, "POST", "/api/topics", { name, encryption });
      }
      await publish(broker, "secret", 0, MESSAGES);
      const change = await ask(broker, "PATCH", "/api/topics/secret", { encryption: "none" });
      assert.equal(change.status, 400);
      await broker.stop("SIGKILL");
    }
    await Deno.writeTextFile(keyFile, WRONG_KEY);
    {
      await using broker = await startBrokerProcess({ dataDir: data, args });
      await rightKeyReturns(broker, keyFile);
      await until("the new key to wrap", () => Promise.resolve(/has wrapped/.test(broker.log())));
      const old = /2 encryption keys: [0-9a-f]{16} wraps, then ([0-9a-f]{16})/.exec(broker.log());
      assert.match(broker.log(), new RegExp(`has wrapped .* 1 log: key ${old![1]} can be removed`));
      for (const key of [OLD_KEY, NEW_KEY, WRONG_KEY]) assert.ok(!broker.log().includes(key));
      await broker.stop("SIGKILL");
    }
    await Deno.writeTextFile(keyFile, NEW_KEY);
    await using broker = await startBrokerProcess({ dataDir: data, args });
    assert.equal((await ask(broker, "GET", "/readyz")).status, 200);
    assert.deepEqual(await valuesOf(broker, "secret"), EXPECTED);
    await broker.stop("SIGTERM");
  });
});

Deno.test("without a key no encrypted topic is made, and a file without keys keeps the broker from starting", async () => {
  await withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({ dataDir: `${dataDir}/data` });
    const spec = { name: "secret", encryption: "aes-256-gcm" };
    const { status, body } = await ask(broker, "POST", "/api/topics", spec);
    assert.deepEqual([status, body.code], [400, "INVALID_REQUEST"]);
    assert.match(body.detail, /no encryption key/);
    const keyFile = `${dataDir}/keys`;
    await Deno.writeTextFile(keyFile, "hunter2\n");
    const args = [`--encryption-key-file=${keyFile}`];
    await assert.rejects(
      startBrokerProcess({ dataDir: `${dataDir}/other`, args }),
      (error: Error) => /line 1 is no key/.test(error.message) && !/hunter2/.test(error.message),
    );
    await broker.stop("SIGTERM");
  });
});
