// Owns what every archive store must do, over a directory and over a real S3-speaking server.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { ArchiveStore } from "../storage/archive.ts";
import { ArchivedLogStore } from "../storage/archive/archived_log_store.ts";
import { DirectoryArchive } from "../storage/archive/directory_archive.ts";
import { S3Archive } from "../storage/archive/s3_archive.ts";
import { DenoDisk } from "../storage/file_log/deno_disk.ts";
import { readAll } from "./contracts/log_fixture.ts";
import { startS3 } from "./support/s3_server.ts";
import { SimulatedDisk } from "./support/simulated_disk.ts";
import { appendEach, CONFIG, LOG, SimulatedMachine } from "./support/simulated_logs.ts";

type WithStore = (run: (store: ArchiveStore) => Promise<void>) => Promise<void>;

const inDirectory: WithStore = async (run) => {
  const root = Deno.makeTempDirSync({ prefix: "waybill-archive-" });
  try {
    await run(new DirectoryArchive(new DenoDisk(root)));
  } finally {
    await Deno.remove(root, { recursive: true });
  }
};

const inS3: WithStore = async (run) => {
  const server = await startS3();
  try {
    await run(server.archive());
  } finally {
    await server.close();
  }
};

const inPrefix: WithStore = async (run) => {
  const server = await startS3();
  try {
    await run(server.archive({ prefix: "some/where" }));
  } finally {
    await server.close();
  }
};

const bytes = (length: number, mark = 0) => Uint8Array.from({ length }, (_, at) => at + mark);

for (
  const [name, withStore] of [["directory", inDirectory], ["S3", inS3], [
    "S3 below a prefix",
    inPrefix,
  ]] as const
) {
  const test = (sentence: string, run: (store: ArchiveStore) => Promise<void>) =>
    Deno.test(`${name} archive: ${sentence}`, () => withStore(run));

  test("an object is read as it was put, and the last put holds", async (store) => {
    for (const length of [1, 100_000]) {
      await store.put("topics/a/0/1.batches", bytes(length));
      assert.deepEqual(await store.get("topics/a/0/1.batches"), bytes(length));
    }
  });

  test("what is not there is null, and removing it is no error", async (store) => {
    assert.equal(await store.get("topics/a/0/1.batches"), null);
    await store.remove("topics/a/0/1.batches");
    await store.put("topics/a/0/1.batches", bytes(3));
    await store.remove("topics/a/0/1.batches");
    assert.equal(await store.get("topics/a/0/1.batches"), null);
  });

  test("a listing holds the keys below its prefix in order, with sizes", async (store) => {
    for (const [index, key] of ["a/1/2", "a/1/1", "a/10/1", "b/1/1"].entries()) {
      await store.put(`${key}.batches`, bytes(index + 1));
    }
    assert.deepEqual(await store.list("a/1/"), [
      { key: "a/1/1.batches", sizeBytes: 2 },
      { key: "a/1/2.batches", sizeBytes: 1 },
    ]);
    assert.deepEqual(await store.list("nothing/"), []);
  });

  test("a log is archived there, read back and removed", async (store) => {
    const machine = new SimulatedMachine();
    const logs = new ArchivedLogStore({
      logs: machine.store(),
      archive: store,
      disk: machine.disk.session(),
      clock: machine.clock,
      timers: machine.clock,
      crc32c,
      onWarning: (warning) => void machine.warnings.push(warning),
      maxObjectBytes: 300,
    });
    const log = await logs.open(LOG, { ...CONFIG, segmentBytes: 350 });
    const batches = await appendEach(log, 12);
    const policy = { now: 1e6, retentionMs: 0, retentionBytes: null, keepFrom: 1e9 };
    await log.applyRetention({ ...policy, archive: { retentionMs: null } });
    assert.equal((await store.list(`${LOG}/`)).length, 5);
    assert.deepEqual(await readAll(log), batches);
    await log.close();
    await logs.remove(LOG);
    assert.deepEqual(await store.list(`${LOG}/`), []);
  });
}

Deno.test("S3 archive: a listing longer than a page is whole", async () => {
  // The S3 server of these tests cannot give continuation tokens on this runtime, so this one answers listings alone.
  const keys = Array.from({ length: 2_500 }, (_, index) => `t/0/${10_000 + index}.batches`);
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const query = new URL(request.url).searchParams;
    const from = Number(query.get("continuation-token") ?? 0);
    const page = keys.slice(from, from + 1_000);
    const next = from + page.length;
    const rest = next < keys.length
      ? `<IsTruncated>true</IsTruncated><NextContinuationToken>${next}</NextContinuationToken>`
      : "<IsTruncated>false</IsTruncated>";
    const contents = page.map((key) => `<Contents><Key>${key}</Key><Size>7</Size></Contents>`);
    return new Response(`<ListBucketResult>${rest}${contents.join("")}</ListBucketResult>`, {
      headers: { "content-type": "application/xml" },
    });
  });
  const store = new S3Archive({
    endpoint: `http://127.0.0.1:${server.addr.port}`,
    bucket: "b",
    region: "auto",
    accessKeyId: "a",
    secretAccessKey: "s",
    prefix: "",
    crc32c,
  });
  const expected = keys.map((key) => ({ key, sizeBytes: 7 }));
  assert.deepEqual(await store.list("t/0/"), expected);
  await server.shutdown();
});

Deno.test("S3 archive: a wrong secret and a missing bucket are rejections, never an empty answer", async () => {
  const server = await startS3();
  try {
    const wrong = server.archive({ secretAccessKey: "wrong" });
    await assert.rejects(wrong.put("a/1.batches", bytes(1)));
    await assert.rejects(wrong.get("a/1.batches"));
    await assert.rejects(wrong.list("a/"));
    assert.equal(server.door.refused, 3);
    await assert.rejects(server.archive({ bucket: "other" }).list("a/"));
    await assert.rejects(server.archive({ bucket: "other" }).put("a/1.batches", bytes(1)));
  } finally {
    await server.close();
  }
});

Deno.test("directory archive: an object whose put resolved survives every crash, any other is whole or absent", async () => {
  for (const fate of ["kill", "keep", "drop", "random"] as const) {
    for (let step = 1;; step++) {
      const disk = new SimulatedDisk({ seed: step });
      disk.crashAtChange = step;
      const store = new DirectoryArchive(disk.session());
      const isPut = await store.put("t/0/1.batches", bytes(1_000)).then(() => true, () => false);
      const crashed = disk.isOff;
      if (fate === "kill") disk.killProcess();
      else disk.crash(fate);
      const after = new DirectoryArchive(disk.session());
      const found = await after.get("t/0/1.batches");
      if (isPut || found !== null) assert.deepEqual(found, bytes(1_000), `${fate} ${step}`);
      assert.equal((await after.list("t/0/")).length, found === null ? 0 : 1);
      if (!crashed) break;
    }
  }
});

Deno.test("directory archive: no key leaves the directory", async () => {
  await inDirectory(async (store) => {
    for (const key of ["../a/1.batches", "a/../../1.batches", "/a/1.batches", "a//1", "", "a"]) {
      await assert.rejects(store.put(key, bytes(1)), Error, key);
      await assert.rejects(store.get(key), Error, key);
    }
  });
});
