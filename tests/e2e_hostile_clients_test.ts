// Owns proof that clients that do harm on many sockets at once cost others neither their answers nor the broker's memory.
// Refuses to own rubbish in single requests (e2e_hostile_test.ts) and figures (deno task bench --only hostile).
// Invariant: a publisher beside them is always served, and afterwards the broker stops cleanly.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { startLoad } from "../ops/bench/load_process.ts";
import type { HostileSpec } from "../ops/bench/load_spec.ts";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { COMPRESSIONS } from "../storage/format/compression.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { call, pause, publish } from "./support/api_calls.ts";
import { besideOthers, createTopicOfOthers } from "./support/beside_others.ts";
import { type BrokerProcess, startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { changed, withRecords } from "./support/format_samples.ts";
import { createTopic } from "./support/numbered_load.ts";
import { openSocket } from "./support/raw_http.ts";

const MIB = 1_048_576;
const ATTACK_MS = 3_000;
/** All attacks at once; `deno task bench` has ten times as many. */
const ATTACKS: readonly (readonly [HostileSpec["attack"], number])[] = [
  ["idle sockets", 1_000],
  ["slowloris", 100],
  ["consumers that never read", 20],
  ["endless fragments", 4],
];
const BAIT_MESSAGES = 20_000;

/** Runs `attack` while somebody else publishes; then the broker has taken no more memory than that, and stops cleanly. */
async function beside(
  maxResidentBytes: number,
  attack: (broker: BrokerProcess) => Promise<void>,
): Promise<void> {
  await withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({ dataDir, args: ["--drain-ms=500"] });
    await createTopic(broker.url, { name: "bait" });
    await createTopicOfOthers(broker);
    await besideOthers(broker, () => attack(broker), { everyMs: 5, maxResidentBytes });
    assert.equal((await broker.stop("SIGTERM")).code, 0);
    assert.match(broker.log(), /closed cleanly/);
  });
}

Deno.test("broker serves others beside idle, slow, never-reading and never-ending clients, and stops in spite of them", async () => {
  await beside(600 * MIB, async ({ url }) => {
    const values = Array.from({ length: 1_000 }, () => "x".repeat(1_000));
    for (let sent = 0; sent < BAIT_MESSAGES; sent += values.length) {
      assert.equal((await publish(url, "bait", values)).status, 200);
    }
    const loads = await Promise.all(
      ATTACKS.map(([attack, sockets]) =>
        startLoad({ kind: "hostile", url, topic: "bait", attack, sockets })
      ),
    );
    await pause(ATTACK_MS);
    await Promise.all(loads.map((load) => load.end()));
  });
});

Deno.test("broker holds of bodies that come byte by byte no more than their bytes", async () => {
  const sockets: Deno.TcpConn[] = [];
  try {
    await beside(300 * MIB, async ({ url }) => {
      const head = "POST /api/messages:publish HTTP/1.1\r\nhost: 127.0.0.1\r\n" +
        "content-type: application/json\r\ncontent-length: 10000000\r\n\r\n";
      for (let count = 0; count < 100; count++) sockets.push(await openSocket(url, head));
      for (let drop = 0; drop < 60; drop++) {
        await Promise.all(sockets.map((socket) => socket.write(Uint8Array.of(0x20))));
        await pause(20);
      }
    });
  } finally {
    for (const socket of sockets) socket.close();
  }
});

Deno.test("broker refuses record batches that unfold to more than they may, several at a time, without taking the memory", async () => {
  const unfolded = new Uint8Array(80 * MIB);
  const plain = encodeBatch([{ key: null, value: "", headers: [], timestamp: 1 }], { crc32c });
  const bombs = COMPRESSIONS.slice(1).map((compression, index) => {
    const { compress } = allCodecs[compression as keyof typeof allCodecs];
    const bytes = changed(withRecords(plain, compress(unfolded)), (view) => {
      view.setInt16(21, index + 1);
    });
    return { compression, bytes: bytes as Uint8Array<ArrayBuffer> };
  });
  await beside(600 * MIB, async ({ url }) => {
    const path = "/api/topics/bait/partitions/0/messages";
    const headers = { "content-type": "application/vnd.waybill.batch" };
    for (let round = 0; round < 3; round++) {
      await Promise.all(bombs.map(async ({ compression, bytes }) => {
        const { status, body } = await call(url, path, { body: bytes, headers });
        assert.deepEqual([status, body.code], [400, "CORRUPT_BATCH"], compression);
        assert.match(body.detail, new RegExp(`^${compression} data`));
      }));
    }
    assert.equal((await call(url, "/api/topics/bait")).body.partitions[0].logEndOffset, 0);
  });
});
