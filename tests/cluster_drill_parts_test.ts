// Owns proof that what cluster drills measure and compare is right where no cluster is needed: interruptions, replicas on
// disks, producers that go on elsewhere, the verdict of a control.
// Refuses to own running drills (e2e_cluster_drill_test.ts).
import assert from "node:assert/strict";
import { ClusterLoad, withoutPadding } from "../ops/drills/cluster/cluster_load.ts";
import { CLUSTER_DRILLS } from "../ops/drills/cluster/catalogue.ts";
import { PartitionProducer } from "../ops/drills/cluster/partition_producer.ts";
import { differences, storedBatches } from "../ops/drills/cluster/replica_logs.ts";
import { clusterFailuresOf } from "../ops/drills/cluster/run_cluster_drill.ts";
import { Silences } from "../ops/drills/cluster/silences.ts";
import { transactionViolations } from "../ops/drills/cluster/transactional_load.ts";
import { parseOptions } from "../ops/drills/options.ts";
import { NOTHING_FOUND } from "../ops/drills/verdict.ts";
import { segmentPath } from "../storage/file_log/file_names.ts";
import { setBaseOffset } from "../storage/format/record_batch.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { LIMITS, record } from "./support/format_samples.ts";

const sampleBatch = (values: readonly string[]) =>
  encodeBatch(values.map((value) => record({ value })), { crc32c: LIMITS.crc32c });
const TARGETS = { rtoMs: 1_000, rpoMs: 0 };

Deno.test("publishing has resumed when the last partition acknowledges what was sent after the fault", () => {
  const silences = new Silences(2);
  silences.acknowledged(0, { sentMs: 90, ackedMs: 110 });
  silences.acknowledged(1, { sentMs: 101, ackedMs: 120 });
  assert.equal(silences.allAckedAt(100), null, "the first one was sent before");
  assert.deepEqual(silences.silentSince(100), [0]);
  silences.acknowledged(0, { sentMs: 300, ackedMs: 350 });
  silences.acknowledged(1, { sentMs: 340, ackedMs: 400 });
  assert.equal(silences.allAckedAt(100), 350);
});

Deno.test("a partition is silent from the last acknowledgement to the next, or to the end", () => {
  const silences = new Silences(2);
  for (const ackedMs of [100, 200, 700, 800]) {
    silences.acknowledged(0, { sentMs: ackedMs - 10, ackedMs });
  }
  silences.acknowledged(1, { sentMs: 100, ackedMs: 300 });
  silences.acknowledged(1, { sentMs: 500, ackedMs: 640 });
  assert.equal(silences.longest(100, 800), 500);
  assert.equal(silences.longest(650, 700), 50);
  assert.equal(silences.longest(100, 2_000), 1_360, "one that never came back");
  assert.equal(new Silences(1).longest(10, 50), 40, "one that was never there");
  assert.deepEqual(silences.latencies(600, 750), [10, 140]);
});

Deno.test("replicas differ where a batch is another, or missing, and not by their guard bytes", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const [first, second] = [sampleBatch(["a", "b"]), sampleBatch(["c"])];
    setBaseOffset(second, 0, 2);
    const write = async (name: string, ...batches: Uint8Array[]) => {
      await Deno.mkdir(`${directory}/${name}`);
      const bytes = new Uint8Array(await new Blob(batches as BlobPart[]).arrayBuffer());
      await Deno.writeFile(segmentPath(`${directory}/${name}`, 0), bytes);
    };
    const guarded = first.slice();
    guarded[0] = 0x80;
    const other = sampleBatch(["a", "x"]);
    await write("whole", first, second);
    await write("guarded", guarded, second);
    await write("short", first);
    await write("other", other, second);
    const compare = async (highWatermark: number, ...names: string[]) => {
      const replicas = new Map();
      for (const name of names) {
        replicas.set(name, await storedBatches(`${directory}/${name}`, highWatermark));
      }
      return differences(replicas, highWatermark);
    };
    assert.deepEqual(await compare(3, "whole", "guarded"), []);
    assert.deepEqual(await compare(2, "whole", "short"), [], "above the high watermark");
    assert.deepEqual(await compare(3, "whole", "short"), ["short and whole differ at offset 2"]);
    assert.deepEqual(await compare(3, "whole", "other"), ["other and whole differ at offset 0"]);
    assert.deepEqual(await compare(3, "short"), ["short ends at 2, below the high watermark 3"]);
    assert.deepEqual(await compare(3, "whole", "none"), ["none and whole differ at offset 0"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a producer goes on at the next broker with the sequence that it had, and with a new epoch after a gap", async () => {
  const asked: { path: string; epoch: number; sequence: number; values: string[] }[] = [];
  const answers = [
    { status: 503, body: { code: "NOT_LEADER" } },
    { status: 200, body: { results: [{ offset: 7, duplicate: true }, { offset: 8 }] } },
    { status: 409, body: { code: "OUT_OF_ORDER_SEQUENCE" } },
    { status: 200, body: { results: [{ offset: 9, duplicate: false }] } },
  ];
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    async (request) => {
      const body = await request.json();
      const values = body.messages.map(({ value }: { value: string }) => value);
      const { producerEpoch: epoch, sequence } = body;
      asked.push({ path: new URL(request.url).pathname, epoch, sequence, values });
      const { status, body: answer } = answers.shift()!;
      return Response.json(answer, { status });
    },
  );
  const url = `http://127.0.0.1:${server.addr.port}`;
  const producer = new PartitionProducer({
    urls: [`${url}/one`, `${url}/two`],
    token: "t",
    topic: "orders",
    partition: 0,
    acks: "all",
    requestTimeoutMs: 5_000,
    padding: ":xx",
  });
  const { signal } = new AbortController();
  const first = await producer.deliver(2, signal);
  assert.deepEqual([first.offsets, first.isRepeat], [[7, 8], true]);
  await producer.deliver(1, signal);
  const publish = "/api/messages:publish";
  assert.deepEqual(asked, [
    { path: `/one${publish}`, epoch: 0, sequence: 0, values: ["p0:0:xx", "p0:1:xx"] },
    { path: `/two${publish}`, epoch: 0, sequence: 0, values: ["p0:0:xx", "p0:1:xx"] },
    { path: `/two${publish}`, epoch: 0, sequence: 2, values: ["p0:2:xx"] },
    { path: `/one${publish}`, epoch: 1, sequence: 0, values: ["p0:2:xx"] },
  ]);
  assert.equal(producer.gaps, 1);
  assert.deepEqual(Object.fromEntries(producer.refusals), {
    NOT_LEADER: 1,
    OUT_OF_ORDER_SEQUENCE: 1,
  });
});

Deno.test("load counts as missing what was acknowledged and is not there, and nothing else", async () => {
  let offset = 0;
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    async (request) => {
      const { messages } = await request.json();
      return Response.json({
        results: messages.map(() => ({ offset: offset++, duplicate: false })),
      });
    },
  );
  const load = new ClusterLoad({
    urls: [`http://127.0.0.1:${server.addr.port}`],
    token: "t",
    topic: "orders",
    partitions: 1,
    perSecond: 1_000,
    acks: "all",
    requestTimeoutMs: 5_000,
    padding: "",
  });
  load.start();
  while (load.acknowledged < 5) await new Promise((resolve) => setTimeout(resolve, 5));
  await load.stop();
  const count = load.acknowledged;
  const all = new Set(Array.from({ length: count }, (_, number) => `p0:${number}`));
  assert.deepEqual([load.missing(0, all), load.violations, offset], [0, [], count]);
  all.delete("p0:3");
  assert.equal(load.missing(0, all), 1);
});

Deno.test("a transaction is there as a whole when committed, not at all when aborted, and either when nobody knows", () => {
  const values = ["t1p0:0", "t1p1:0"];
  const found = (fate: "committed" | "aborted" | "maybe", ...shown: [string, number][]) =>
    transactionViolations([{ values, fate }], new Map(shown)).map((text) => text.slice(0, 2));
  assert.deepEqual(found("committed", ["t1p0:0", 1], ["t1p1:0", 1]), []);
  assert.deepEqual(found("committed", ["t1p0:0", 1]), ["I1"]);
  assert.deepEqual(found("committed"), ["I1"]);
  assert.deepEqual(found("aborted"), []);
  assert.deepEqual(found("aborted", ["t1p1:0", 1]), ["I3"]);
  assert.deepEqual(found("maybe"), []);
  assert.deepEqual(found("maybe", ["t1p0:0", 1], ["t1p1:0", 1]), []);
  assert.deepEqual(found("maybe", ["t1p1:0", 1]), ["I3"]);
  assert.deepEqual(found("committed", ["t1p0:0", 2], ["t1p1:0", 1]), ["I4"]);
});

Deno.test("padding that is not whole is kept, for the checker to notice", () => {
  assert.equal(withoutPadding("p0:1:xx", ":xx"), "p0:1");
  assert.equal(withoutPadding("p0:1:x", ":xx"), "p0:1:x");
  assert.equal(withoutPadding("p0:1", ""), "p0:1");
});

Deno.test("a control passes only when messages are lost, any other drill only when none is", () => {
  const { messages } = NOTHING_FOUND;
  const found = (lost: number) => ({
    ...NOTHING_FOUND,
    rtoMs: 1,
    messages: { ...messages, acknowledged: 10, lost },
  });
  const control = { isControl: true, targets: TARGETS };
  assert.deepEqual(clusterFailuresOf(control, found(3)), []);
  assert.equal(clusterFailuresOf(control, found(0)).length, 1);
  assert.equal(clusterFailuresOf(control, found(NaN)).length, 1);
  assert.equal(clusterFailuresOf(control, NOTHING_FOUND).length, 2);
  assert.deepEqual(clusterFailuresOf({ targets: TARGETS }, found(0)), []);
  assert.equal(clusterFailuresOf({ targets: TARGETS }, found(3)).length, 1);
});

Deno.test("drill command takes drills of a cluster, with their options, and says what it does not know", () => {
  const options = parseOptions(["cluster", "broker-killed", "--kills", "20", "--acks", "leader"]);
  assert.ok(options !== "help");
  assert.deepEqual(options.clusterDrills.map(({ name }) => name), ["broker-killed"]);
  assert.deepEqual(options.drills, []);
  assert.deepEqual(options.cluster, { kills: 20, acks: "leader", perSecond: 5_000 });
  const all = parseOptions(["cluster", "all"]);
  assert.ok(all !== "help" && all.clusterDrills.length === CLUSTER_DRILLS.length);
  const list = parseOptions(["list"]);
  assert.ok(list !== "help" && list.clusterDrills.length === CLUSTER_DRILLS.length);
  assert.throws(() => parseOptions(["cluster"]), /say which drill/);
  assert.throws(() => parseOptions(["cluster", "no-such"]), /no cluster drill no-such; there are/);
  assert.throws(() => parseOptions(["cluster", "all", "--kills", "0"]), /--kills must be/);
  assert.throws(() => parseOptions(["cluster", "all", "--acks", "none"]), /--acks must be/);
  assert.throws(() => parseOptions(["cluster", "all", "--repairs", "off"]), /see --acks/);
});

Deno.test("every cluster drill says what it injects and what repairs it; one of them is the control", () => {
  assert.equal(new Set(CLUSTER_DRILLS.map(({ name }) => name)).size, CLUSTER_DRILLS.length);
  for (const { name, title, injects, repair, control } of CLUSTER_DRILLS) {
    assert.match(name, /^[a-z]+(?:-[a-z]+)*$/);
    for (const text of [title, injects, repair, control]) assert.ok(text.length > 5, name);
  }
  assert.deepEqual(
    CLUSTER_DRILLS.filter(({ isControl }) => isControl).map(({ name }) => name),
    ["acknowledged-early"],
  );
});
