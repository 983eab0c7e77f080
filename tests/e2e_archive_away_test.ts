// Owns proof that a real broker whose archive is away, or not configured any more, loses nothing and calls nothing lost.
// Refuses to own archiving itself (e2e_archive_test.ts).
import assert from "node:assert/strict";
import { type BrokerProcess, startBrokerProcess, withDataDir } from "./support/broker_process.ts";

const COUNT = 1_200;
const WAIT_MS = 20_000;
const PADDING = "x".repeat(400);

// deno-lint-ignore no-explicit-any -- what a test reads out of an answer is checked by its assertions
type Answer = { status: number; body: any };

async function call({ url }: BrokerProcess, path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(url + path, {
    ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    headers: { "content-type": "application/json" },
  });
  return { status: response.status, body: await response.json() };
}

async function eventually(holds: () => Promise<boolean>, what: string): Promise<void> {
  const givenUpAt = performance.now() + WAIT_MS;
  while (!await holds()) {
    assert.ok(performance.now() < givenUpAt, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function publish(broker: BrokerProcess, from: number, to: number): Promise<void> {
  const messages = Array.from(
    { length: to - from },
    (_, n) => ({ value: `${from + n} ${PADDING}` }),
  );
  const { status } = await call(broker, "/api/messages:publish", { topic: "logs", messages });
  assert.equal(status, 200);
}

const read = (broker: BrokerProcess, offset: number | string, topic = "logs") =>
  call(broker, `/api/topics/${topic}/partitions/0/messages?offset=${offset}&maxMessages=1`);

const nack = (broker: BrokerProcess, offset: number) =>
  call(broker, "/api/messages:nack", {
    groupId: "billing",
    topic: "logs",
    partition: 0,
    offset,
    code: "NON_RETRYABLE",
  });

const lettersToWrite = async (broker: BrokerProcess) =>
  (await call(broker, "/api/groups/billing")).body.retries.deadLettersToWrite;

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function refused(broker: BrokerProcess): Promise<void> {
  for (const offset of [0, 100, "@0"]) {
    const { status, body } = await read(broker, offset);
    assert.deepEqual([status, body.code, body.retryable], [503, "ARCHIVE_UNAVAILABLE", true]);
  }
  const replay = { topic: "logs", partition: 0, from: 0, to: 10, dryRun: true };
  const replayed = await call(broker, "/api/messages:replay", replay);
  assert.equal(replayed.body.code, "ARCHIVE_UNAVAILABLE", JSON.stringify(replayed));
  assert.equal((await read(broker, COUNT - 1)).status, 200);
}

Deno.test("while an archive is away, or none is configured, what it holds is out of reach and never lost", async () => {
  const volume = await Deno.makeTempDir({ prefix: "waybill-archive-" });
  const root = `${volume}/archive`;
  const away = `${volume}/away`;
  try {
    await withDataDir(async (dataDir) => {
      const shared = ["--retention-interval-ms=1000", "--tail-cache-bytes=0"];
      const start = (args: string[]) => startBrokerProcess({ dataDir, args: [...shared, ...args] });
      const withArchive = [`--archive-dir=${root}`];
      {
        await using broker = await start(withArchive);
        const limits = { segmentBytes: 65_536, retentionBytes: 65_536, archive: true };
        await call(broker, "/api/topics", { name: "logs", partitions: 1, ...limits });
        for (let from = 0; from < COUNT; from += 100) await publish(broker, from, from + 100);
        const local = async () =>
          (await call(broker, "/api/topics/logs")).body.partitions[0].sizeBytes;
        await eventually(async () => await local() < COUNT * 200, "nothing is archived");
        const commit = {
          groupId: "billing",
          offsets: [{ topic: "logs", partition: 0, offset: 0 }],
        };
        assert.equal((await call(broker, "/api/offsets:commit", commit)).status, 200);
        await broker.stop("SIGKILL");
      }
      await Deno.rename(root, away);
      let published = COUNT;
      for (const isMountPoint of [false, true]) {
        if (isMountPoint) await Deno.mkdir(root);
        await using broker = await start(withArchive);
        await refused(broker);
        assert.equal((await call(broker, "/readyz")).status, 200);
        if (!isMountPoint) assert.equal((await nack(broker, 5)).body.deadLettered, true);
        assert.equal(await lettersToWrite(broker), 1);
        for (let n = 0; n < 4; n++) await publish(broker, published, published += 100);
        const isRefused = () => Promise.resolve(/archiving of logs failed/.test(broker.log()));
        await eventually(isRefused, "nothing was to be archived");
        await broker.stop("SIGTERM");
        assert.doesNotMatch(broker.log(), /CORRUPT|offline/);
        assert.equal(await exists(`${root}/topics`), false, "it is archived beside the archive");
      }
      {
        await using broker = await start([]);
        await refused(broker);
        assert.equal((await call(broker, "/api/topics/logs")).body.partitions[0].logStartOffset, 0);
        const { status, body } = await call(broker, "/readyz");
        assert.equal(status, 503);
        assert.match(body.problems.join(), /topic logs .* no archive is configured/);
        assert.match(broker.log(), /topic logs .* no archive is configured/);
        assert.equal(await lettersToWrite(broker), 1);
        await broker.stop("SIGTERM");
      }
      await Deno.remove(root, { recursive: true });
      await Deno.rename(away, root);
      await using broker = await start(withArchive);
      assert.match((await read(broker, 0)).body.messages[0].value, /^0 /);
      assert.equal((await call(broker, "/readyz")).status, 200);
      await eventually(async () => await lettersToWrite(broker) === 0, "the letter is not written");
      const [letter] = (await read(broker, 0, "dlq.logs")).body.messages;
      assert.match(letter.value, /^5 /);
      assert.equal(letter.headers["waybill-payload"], undefined);
      for (let offset = 0; offset < published; offset += 50) {
        assert.match((await read(broker, offset)).body.messages[0].value, RegExp(`^${offset} `));
      }
      await broker.stop("SIGTERM");
    });
  } finally {
    await Deno.remove(volume, { recursive: true });
  }
});
