// Owns proof of what an operator sees of the process: its start, its refusals, its output, its end.
import { crc32c } from "@node-rs/crc32";
import assert from "node:assert/strict";
import { CheckpointFile } from "../storage/file_log/checkpoint.ts";
import { DenoDisk } from "../storage/file_log/deno_disk.ts";
import { AckChecker } from "../ops/drills/ack_checker.ts";
import { call, eventually, pause, publish } from "./support/api_calls.ts";
import { BrokerDidNotStart, startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { endedProcess } from "./support/ended_process.ts";
import { createTopic, NumberedProducer, readPartition } from "./support/numbered_load.ts";

const READY_LINE = /^waybill \S+ listening on http:\/\/127\.0\.0\.1:(\d+)\n$/;
/** A drain without anything to wait for must not take its whole time limit. */
const PROMPT_STOP_MS = 8_000;
const LOAD_MESSAGES = 500;
const LOAD_TIMEOUT_MS = 20_000;
const PARTITIONS = 3;
// deno-lint-ignore no-control-regex -- the escape character is what is looked for
const ANSI = /\u001b\[/;

Deno.test("broker tells its free port once, and nothing else, on standard output, without colours", async () => {
  await withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({ dataDir, wrapper: ["env", "-u", "NO_COLOR"] });
    const port = READY_LINE.exec(broker.output())?.[1];
    assert.ok(Number(port) > 0, broker.output());
    await createTopic(broker.url, { name: "t" });
    assert.equal((await publish(broker.url, "t", ["a"])).status, 200);
    assert.equal((await call(broker.url, "/nowhere")).status, 404);
    assert.equal((await broker.stop("SIGTERM")).code, 0);
    assert.match(broker.output(), READY_LINE);
    assert.match(broker.log(), /closed cleanly/);
    assert.doesNotMatch(broker.output() + broker.log(), ANSI);
  });
});

Deno.test("broker on a data directory in use is refused with exit code 2 and the pid of the one that goes on", async () => {
  await withDataDir(async (dataDir) => {
    await using first = await startBrokerProcess({ dataDir });
    await createTopic(first.url, { name: "t" });
    const refused = await startBrokerProcess({ dataDir }).then(
      () => assert.fail("two brokers on one data directory"),
      (error) => error,
    );
    assert.ok(refused instanceof BrokerDidNotStart, String(refused));
    assert.equal(refused.code, 2);
    assert.match(refused.output, new RegExp(`in use by process ${first.pid}\\b`));
    assert.equal(lines(refused.output).length, 1, refused.output);
    assert.equal((await publish(first.url, "t", ["a"])).status, 200);
    await first.stop("SIGKILL");
    await using second = await startBrokerProcess({ dataDir });
    assert.equal((await readPartition(second.url, "t", { partition: 0, from: 0 })).length, 1);
  });
});

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`broker that gets ${signal} under load keeps all it answered, marks its logs clean, exits 0`, async () => {
    await withDataDir(async (dataDir) => {
      const checker = new AckChecker();
      await using broker = await startBrokerProcess({ dataDir });
      const topicId = await createLoadTopic(broker.url);
      const running = startLoad(broker.url, checker);
      await acknowledges(checker);
      const start = performance.now();
      assert.equal((await broker.stop(signal)).code, 0, broker.log());
      assert.ok(performance.now() - start < PROMPT_STOP_MS, "the drain took its whole time limit");
      assert.deepEqual((await Promise.all(running)).flat(), []);
      assert.match(broker.log(), /closed cleanly/);
      const marks = await cleanMarks(dataDir, topicId);

      await using again = await startBrokerProcess({ dataDir });
      const ends: number[] = [];
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const seen = await readPartition(again.url, "load", { partition, from: 0 });
        assert.deepEqual(checker.check(partition, 0, seen).slice(0, 10), []);
        ends.push(seen.length);
      }
      assert.deepEqual(marks, ends, "clean marks lie at the ends of the logs");
      assert.doesNotMatch(again.log(), /\[(?:WRN|ERR)\]/);
    });
  });
}

Deno.test("clean mark is missing after a kill, so that its being there proves something", async () => {
  await withDataDir(async (dataDir) => {
    const checker = new AckChecker();
    await using broker = await startBrokerProcess({ dataDir });
    const topicId = await createLoadTopic(broker.url);
    const running = startLoad(broker.url, checker);
    await acknowledges(checker);
    await broker.stop("SIGKILL");
    await Promise.all(running);
    const marks = await cleanMarks(dataDir, topicId);
    await using again = await startBrokerProcess({ dataDir });
    const seen = await readPartition(again.url, "load", { partition: 0, from: 0 });
    assert.ok(marks[0]! < seen.length, `mark at ${marks[0]}, end at ${seen.length}`);
  });
});

Deno.test("broker drains at once although readers wait, consumers stream and sockets lie idle", async () => {
  await withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({ dataDir });
    await createTopic(broker.url, { name: "t" });
    const path = "/api/topics/t/partitions/0/messages?offset=0&waitMs=30000";
    const waiting = call(broker.url, path, { timeoutMs: 40_000 });
    waiting.catch(() => undefined);
    const { hostname, port } = new URL(broker.url);
    using idle = await Deno.connect({ hostname, port: Number(port) });
    const consumer = new WebSocket(
      `${broker.url.replace("http", "ws")}/api/groups/g/stream?topics=t`,
    );
    const closed = new Promise<CloseEvent>((resolve) => consumer.onclose = resolve);
    await new Promise((resolve) => consumer.onmessage = resolve);
    await pause(300);
    const start = performance.now();
    assert.equal((await broker.stop("SIGTERM")).code, 0);
    const tookMs = performance.now() - start;
    assert.ok(tookMs < PROMPT_STOP_MS, `the drain took ${Math.round(tookMs)} ms`);
    const answer = await waiting;
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.body.messages, []);
    // 1012: the service restarts (RFC 6455's registry), so come back.
    assert.equal((await closed).code, 1012);
    assert.ok(idle);
  });
});

const refusals: {
  why: string;
  args?: string[];
  environment?: Record<string, string>;
  says: RegExp;
}[] = [
  { why: "an unknown flag", args: ["--colour=red"], says: /--colour/ },
  { why: "a positional argument", args: ["start"], says: /start/ },
  { why: "a port that is none", args: ["--port=65536"], says: /--port .*65535/ },
  { why: "an unknown variable", environment: { WAYBILL_PORTT: "1" }, says: /WAYBILL_PORTT/ },
  {
    why: "a variable of a wrong value",
    environment: { WAYBILL_LOG_LEVEL: "loud" },
    says: /WAYBILL_LOG_LEVEL/,
  },
  { why: "a missing file", args: ["--config=/nowhere/waybill.yaml"], says: /\/nowhere\/waybill/ },
  // TEST-NET-3 (RFC 5737): an address of no machine.
  {
    why: "an address that is not ours",
    args: ["--host=203.0.113.7", "--insecure"],
    says: /203\.0/,
  },
  { why: "an open door", args: ["--host=0.0.0.0"], says: /0\.0\.0\.0 .*--admin-token.*--insecure/ },
  {
    why: "a data directory of the system",
    args: ["--data-dir=/proc/x"],
    says: /\/proc\/x cannot be used(?!.*allow-all)/,
  },
  { why: "a data directory that is a file", args: ["--data-dir=/proc/self/comm"], says: /comm/ },
];

for (const { why, args = [], environment = {}, says } of refusals) {
  Deno.test(`process started with ${why} exits 2 with one clear line`, async () => {
    await withDataDir(async (dataDir) => {
      const process = await endedProcess(["--port=0", `--data-dir=${dataDir}`, ...args], {
        environment,
      });
      assert.deepEqual([process.code, process.stdout], [2, ""], process.stderr);
      assert.equal(lines(process.stderr).length, 1, process.stderr);
      assert.match(process.stderr, says);
      assert.doesNotMatch(process.stderr, ANSI);
    });
  });
}

Deno.test("process started on a port in use exits 2 with one clear line and lets go of its data", async () => {
  await withDataDir(async (dataDir) => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr as Deno.NetAddr;
    const process = await endedProcess([`--port=${port}`, `--data-dir=${dataDir}`]);
    assert.deepEqual([process.code, process.stdout], [2, ""], process.stderr);
    assert.equal(lines(process.stderr).length, 1, process.stderr);
    assert.match(process.stderr, new RegExp(`${port}.*in use`));
    await using broker = await startBrokerProcess({ dataDir });
    assert.equal((await call(broker.url, "/readyz")).status, 200);
  });
});

Deno.test("broker serves other machines when told --insecure", async () => {
  await withDataDir(async (dataDir) => {
    const args = ["--host=0.0.0.0", "--insecure"];
    await using broker = await startBrokerProcess({ dataDir, args });
    assert.match(broker.url, /^http:\/\/0\.0\.0\.0:/);
    const local = broker.url.replace("0.0.0.0", "127.0.0.1");
    assert.equal((await call(local, "/api/topics")).status, 200);
  });
});

Deno.test("broker with an admin token serves other machines, asks everybody for it, and never tells it", async () => {
  await withDataDir(async (dataDir) => {
    const token = "correct-horse-battery-staple";
    await using broker = await startBrokerProcess({
      dataDir,
      args: ["--host=0.0.0.0", "--log-level=trace"],
      environment: { WAYBILL_ADMIN_TOKEN: token },
    });
    const local = broker.url.replace("0.0.0.0", "127.0.0.1");
    const bearer = (text: string) => ({ headers: { authorization: `Bearer ${text}` } });
    for (const options of [{}, bearer("wrong"), bearer(token.slice(1)), bearer(`${token}x`)]) {
      const refused = await call(local, "/api/topics", options);
      assert.deepEqual([refused.status, refused.body.code], [401, "UNAUTHENTICATED"]);
      assert.match(refused.headers.get("www-authenticate") ?? "", /^Bearer/);
    }
    assert.equal((await call(local, "/api/topics", bearer(token))).status, 200);
    const made = { ...bearer(token), json: { name: "t" } };
    assert.equal((await call(local, "/api/topics", made)).status, 201);
    assert.equal((await call(local, "/api/topics", { json: { name: "u" } })).status, 401);
    for (const open of ["/livez", "/readyz"]) assert.equal((await call(local, open)).status, 200);
    await broker.stop("SIGTERM");
    assert.ok(!(broker.output() + broker.log()).includes(token), "the token is in the log");
  });
});

function lines(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}

async function createLoadTopic(url: string): Promise<string> {
  await createTopic(url, { name: "load", partitions: PARTITIONS, segmentBytes: 65_536 });
  return (await call(url, "/api/topics/load")).body.topicId;
}

function startLoad(url: string, checker: AckChecker): Promise<string[]>[] {
  const producers = ["a", "b", "c"].flatMap((name, partition) =>
    [1, 10].map((perRequest) =>
      new NumberedProducer(`${name}${perRequest}`, partition, {
        topic: "load",
        perRequest,
        acks: "all",
      })
    )
  );
  return producers.map((each) => each.run(url, checker, new AbortController().signal));
}

/** Resolves in the midst of the load. */
async function acknowledges(checker: AckChecker): Promise<void> {
  // deno-lint-ignore require-await -- it may throw
  await eventually(LOAD_TIMEOUT_MS, async () => assert.ok(checker.ackedCount >= LOAD_MESSAGES));
}

/** Offsets of the durable checkpoints of the load topic: a log closed cleanly has it at its end. */
async function cleanMarks(dataDir: string, topicId: string): Promise<number[]> {
  const marks: number[] = [];
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const directory = `topics/${topicId}/${partition}`;
    const checkpoint = await new CheckpointFile(new DenoDisk(dataDir), directory, crc32c).load();
    marks.push(checkpoint?.offset ?? -1);
  }
  return marks;
}
