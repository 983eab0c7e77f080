import assert from "node:assert/strict";
import { encode } from "@msgpack/msgpack";
import { FrameReader } from "../ops/peer/frames.ts";
import { proveAsDialer, secretKey } from "../ops/peer/handshake.ts";
import { encodeMessage, KIND } from "../ops/peer/message.ts";
import { TcpPeers } from "../ops/peer/tcp_peers.ts";
import { hostileBytes } from "./support/peer_garbage.ts";
import { PEER_SECRET, PeerScene } from "./support/peer_scene.ts";
import { settle, VirtualClock } from "./support/virtual_time.ts";

const SOON = { timeoutMs: 5_000 };

/** All that comes until the other side hangs up. */
async function rest(connection: Deno.Conn): Promise<number[]> {
  const all: number[] = [];
  const buffer = new Uint8Array(4_096);
  try {
    for (let count; (count = await connection.read(buffer)) !== null;) {
      all.push(...buffer.subarray(0, count));
    }
  } catch {
    // Reset: hung up as well.
  }
  return all;
}

function framed(body: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(4 + body.length);
  new DataView(frame.buffer).setUint32(0, body.length);
  frame.set(body, 4);
  return frame;
}

async function served(scene: PeerScene, options = {}): Promise<{ b: TcpPeers; calls: unknown[] }> {
  const b = await scene.open("b", options);
  const calls: unknown[] = [];
  b.handle("note", (args) => {
    calls.push(args);
    return Promise.resolve(null);
  });
  return { b, calls };
}

Deno.test("a broker with another secret, another cluster's, or another's name is served nothing", async () => {
  await using scene = new PeerScene();
  const { calls } = await served(scene);
  const call = (peers: TcpPeers) => peers.call("b", { method: "note", args: 1 }, SOON);
  const secret = await scene.open("a", { secret: "another secret, long enough" });
  await assert.rejects(call(secret), { code: "PEER_UNAVAILABLE" });
  const cluster = await scene.open("a", { cluster: "others" });
  await assert.rejects(call(cluster), { code: "PEER_UNAVAILABLE" });
  // At the address of a broker that was meant to be another.
  const a = await scene.open("a");
  scene.addresses.set("c", scene.addresses.get("b")!);
  const wrong = a.call("c", { method: "note", args: 1 }, SOON);
  await assert.rejects(wrong, { code: "PEER_UNAVAILABLE" });
  assert.deepEqual(calls, []);
});

Deno.test("a secret that could be guessed is no secret", async () => {
  await using scene = new PeerScene();
  await assert.rejects(scene.open("a", { secret: "short" }), /16 characters/);
});

Deno.test("a broker proves nothing to one that does not know the secret, and is not taken in by one that dials back its words", async () => {
  await using scene = new PeerScene();
  await served(scene);
  const connection = await scene.stranger("b");
  const nonce = new Uint8Array(32).fill(1);
  await connection.write(framed(encode(["waybill-peer-1", "tests", "a", "b", "data", nonce])));
  const reader = new FrameReader(connection);
  const challenge = await reader.next(1_024);
  await connection.write(framed(encode([new Uint8Array(32)])));
  assert.deepEqual(await rest(connection), []);
  // Whoever stands at b's address can say only what it hears.
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  scene.addresses.set("b", { host: "127.0.0.1", port: (listener.addr as Deno.NetAddr).port });
  const mirror = (async () => {
    const near = await listener.accept();
    const heard = new FrameReader(near);
    await heard.next(1_024);
    await near.write(framed(challenge!));
    await near.write(framed((await heard.next(1_024))!));
    await rest(near);
    near.close();
    listener.close();
  })();
  const a = await scene.open("a");
  const call = a.call("b", { method: "note", args: "for b alone" }, SOON);
  await assert.rejects(call, { code: "PEER_UNAVAILABLE" });
  await mirror;
});

Deno.test("a handshake and calls that were recorded open nothing when they are played again", async () => {
  await using scene = new PeerScene();
  const { calls } = await served(scene);
  const direct = scene.addresses.get("b")!;
  const relay = scene.relay("b");
  const a = await scene.open("a");
  await a.call("b", { method: "note", args: "once" }, SOON);
  scene.addresses.set("b", direct);
  const connection = await scene.stranger("b");
  for (const bytes of relay.recorded[0]!) await connection.write(bytes).catch(() => {});
  const said = await rest(connection);
  assert.deepEqual(calls, ["once"]);
  // A nonce at most, and never the proof.
  assert.ok(said.length <= 64, `${said.length} bytes`);
});

Deno.test("garbage, huge lengths and calls without a handshake end the connection unheard", async () => {
  await using scene = new PeerScene();
  const { b, calls } = await served(scene);
  const call = encodeMessage(KIND.request, 1, ["note", 1, "unasked"]);
  const openings = [
    new Uint8Array([0xff, 0xff, 0xff, 0xff]),
    new Uint8Array([0, 0, 4, 1]),
    new TextEncoder().encode("GET / HTTP/1.1\r\nauthorization: Bearer x\r\n\r\n"),
    framed(new Uint8Array([0xdd, 0xff, 0xff, 0xff, 0xff])),
    framed(encode(["waybill-peer-1", "tests", "a", "b", "data", new Uint8Array(31)])),
    framed(encode(["waybill-peer-1", "tests", "b", "b", "data", new Uint8Array(32)])),
    framed(encode({ length: 6 })),
    framed(new Uint8Array()),
    new Uint8Array(call.parts[0]!),
    ...hostileBytes(20),
  ];
  for (const opening of openings) {
    const connection = await scene.stranger("b");
    await connection.write(opening);
    await connection.closeWrite();
    assert.deepEqual(await rest(connection), []);
  }
  assert.deepEqual(calls, []);
  assert.equal(b.strangers, 0);
  assert.ok(scene.reports.length <= 2, "not one line a stranger");
});

Deno.test("a stranger that is slow has three seconds, and a bounded number of them wait", async () => {
  await using scene = new PeerScene();
  const time = new VirtualClock();
  const { b } = await served(scene, { timers: time, clock: time });
  const waiting = [];
  for (let count = 0; count < 64; count++) {
    const connection = await scene.stranger("b");
    await connection.write(new Uint8Array([0, 0, 1]));
    waiting.push(connection);
  }
  while (b.strangers < 64) await settle();
  const beyond = await scene.stranger("b");
  assert.deepEqual(await rest(beyond), []);
  await time.advance(2_999);
  assert.equal(b.strangers, 64);
  await time.advance(1);
  for (const connection of waiting) assert.deepEqual(await rest(connection), []);
  while (b.strangers > 0) await settle();
  const a = await scene.open("a");
  await a.call("b", { method: "note", args: 1 }, SOON);
});

Deno.test("a peer that breaks the rules after its handshake is cut off, and the broker goes on", async () => {
  await using scene = new PeerScene();
  const { calls } = await served(scene, { bounds: { maxFrameBytes: 10_000, maxCalls: 4 } });
  const bad = [
    new Uint8Array([0xff, 0xff, 0xff, 0xff]),
    framed(new Uint8Array([1, 0, 0])),
    framed(new Uint8Array([9, 0, 0, 0, 1, 0, 0, 0, 0])),
    new Uint8Array(encodeMessage(KIND.answer, 1, null).parts[0]!),
  ];
  for (const bytes of bad) {
    const connection = await scene.stranger("b");
    const reader = new FrameReader(connection);
    const key = await secretKey(PEER_SECRET);
    const tie = { cluster: "tests", from: "evil", to: "b", lane: "data" } as const;
    await proveAsDialer({ reader, socket: connection, key, maxBytes: 1_024 }, tie);
    await connection.write(bytes);
    assert.deepEqual(await rest(connection), []);
  }
  const a = await scene.open("a");
  await a.call("b", { method: "note", args: "well" }, SOON);
  assert.deepEqual(calls, ["well"]);
});

Deno.test("data that cannot be read fail their own call alone", async () => {
  await using scene = new PeerScene();
  const { calls } = await served(scene);
  const connection = await scene.stranger("b");
  const reader = new FrameReader(connection);
  const key = await secretKey(PEER_SECRET);
  const tie = { cluster: "tests", from: "a", to: "b", lane: "data" } as const;
  await proveAsDialer({ reader, socket: connection, key, maxBytes: 1_024 }, tie);
  // A head that is longer than the frame, and one whose byte array lies beyond it.
  await connection.write(framed(new Uint8Array([1, 0, 0, 0, 7, 0, 0, 0, 99])));
  const place = [0xd7, 1, 0, 0, 0, 0, 0, 0, 1, 0];
  await connection.write(framed(new Uint8Array([1, 0, 0, 0, 8, 0, 0, 0, 10, ...place])));
  await connection.write(
    new Uint8Array(encodeMessage(KIND.request, 9, ["note", 1, "ok"]).parts[0]!),
  );
  const kinds = [];
  for (let count = 0; count < 3; count++) {
    const frame = (await reader.next(10_000))!;
    kinds.push([frame[0], frame[4]]);
  }
  kinds.sort((x, y) => x[1]! - y[1]!);
  assert.deepEqual(kinds, [[KIND.failure, 7], [KIND.failure, 8], [KIND.answer, 9]]);
  assert.deepEqual(calls, ["ok"]);
});

Deno.test("a broker that connects anew takes the place of its older connection", async () => {
  await using scene = new PeerScene();
  const { b } = await served(scene);
  const aborted = Promise.withResolvers<void>();
  b.handle("wait", (_args, _caller, signal) => {
    signal.addEventListener("abort", () => aborted.resolve());
    return new Promise(() => {});
  });
  const older = await scene.open("a");
  await older.call("b", { method: "note", args: 1 }, SOON);
  const lost = assert.rejects(older.call("b", { method: "wait", args: null }, SOON), {
    code: "PEER_LOST",
  });
  const newer = await scene.open("a", { incarnation: () => 2 });
  await newer.call("b", { method: "note", args: 2 }, SOON);
  await Promise.all([lost, aborted.promise]);
});
