// Owns the tests of the judgement over a connection: pure, in made-up time.
import assert from "node:assert/strict";
import {
  Connection,
  type DoorLimits,
  excess,
  MAX_UNFINISHED_MESSAGE_BYTES,
  UnfinishedMessage,
  UNREAD_TIMEOUT_MS,
} from "../ops/door/connection.ts";
import type { Traffic } from "../ops/door/kernel.ts";

const LIMITS: DoorLimits = {
  maxConnections: 100,
  maxConnectionsPerAddress: 10,
  headerTimeoutMs: 15_000,
  bodyTimeoutMs: 30_000,
  idleTimeoutMs: 120_000,
};
const END = { id: "10.0.0.1 4000", address: "10.0.0.1", network: "10.0.0.1" };

/** A connection since 0, whose bytes come and go as told. */
function scene(isSecure = false) {
  const connection = new Connection(7, 1, { end: END, sinceMs: 0, isSecure });
  let [sentMs, receivedMs, segmentsOut, notSentBytes, ackedBytes] = [0, 0, 0, 0, 0];
  return {
    connection,
    sends: (nowMs: number) => void (sentMs = nowMs, segmentsOut++),
    receives: (nowMs: number) => void (receivedMs = nowMs),
    waitsToSend: (bytes: number, acked: number) => void (notSentBytes = bytes, ackedBytes = acked),
    at(nowMs: number, { isBusy = false, isPressed = false } = {}) {
      const traffic: Traffic = {
        lastSentMs: nowMs - sentMs,
        lastReceivedMs: nowMs - receivedMs,
        ackedBytes,
        receivedBytes: 0,
        notSentBytes,
        segmentsOut,
      };
      return connection.judge({ traffic, nowMs, isBusy, isPressed }, LIMITS);
    },
  };
}

Deno.test("a connection on which no request comes ends after the header time-out, however it trickles", () => {
  const it = scene();
  for (let nowMs = 0; nowMs < 15_000; nowMs += 1_000) {
    it.receives(nowMs);
    assert.equal(it.at(nowMs), null);
  }
  assert.equal(it.at(15_000), "no request");
});

Deno.test("a handshake alone is no request", () => {
  const it = scene(true);
  it.receives(10);
  it.sends(20);
  assert.equal(it.at(14_999), null);
  assert.equal(it.at(15_000), "no request");
  const other = scene(true);
  other.sends(20);
  other.connection.asked();
  assert.equal(other.at(15_000), null);
});

Deno.test("a second request that is half sent ends its connection a header time-out after its first byte", () => {
  const it = scene();
  it.receives(0);
  it.sends(10);
  assert.equal(it.at(60_000), null);
  it.receives(60_100);
  assert.equal(it.at(60_200), null);
  it.receives(70_000);
  assert.equal(it.at(75_100), null);
  assert.equal(it.at(75_200), "half-sent header");
});

Deno.test("a connection without a request ends after the idle time-out, and much sooner when many are taken", () => {
  const it = scene();
  it.receives(0);
  it.sends(10);
  assert.equal(it.at(120_000), null);
  assert.equal(it.at(120_010), "idle");
  const pressed = scene();
  pressed.sends(10);
  assert.equal(pressed.at(5_000, { isPressed: true }), null);
  assert.equal(pressed.at(5_010, { isPressed: true }), "idle");
});

Deno.test("a connection whose request is under way is not ended for being quiet, and begins to be idle after it", () => {
  const it = scene();
  it.receives(0);
  for (let nowMs = 100; nowMs < 600_000; nowMs += 1_000) {
    assert.equal(it.at(nowMs, { isBusy: true, isPressed: true }), null);
  }
  it.sends(600_000);
  assert.equal(it.at(719_000), null);
  assert.equal(it.at(720_000), "idle");
});

Deno.test("an answer of which nothing is taken is given up, busy or not; one that is taken slowly is not", () => {
  const it = scene();
  it.sends(0);
  it.waitsToSend(5_000, 100);
  assert.equal(it.at(1_000, { isBusy: true }), null);
  assert.equal(it.at(2_000, { isBusy: true }), null);
  assert.equal(it.at(2_000 + UNREAD_TIMEOUT_MS, { isBusy: true }), "does not read");
  const slow = scene();
  for (let nowMs = 0; nowMs < 300_000; nowMs += 30_000) {
    slow.waitsToSend(5_000, nowMs);
    assert.equal(slow.at(nowMs, { isBusy: true }), null);
  }
});

Deno.test("bytes of a message that is not whole count from the last one that was", () => {
  const message = new UnfinishedMessage(1_000);
  assert.equal(message.bytes(5_000, 0), 4_000);
  assert.equal(message.bytes(9_000, 1), 0);
  assert.equal(message.bytes(9_500, 1), 500);
});

Deno.test("a message is too large when two looks agree, since whole ones may wait to be heard", () => {
  const message = new UnfinishedMessage(0);
  assert.ok(!message.isTooLarge(MAX_UNFINISHED_MESSAGE_BYTES + 1));
  assert.ok(!message.isTooLarge(10));
  assert.ok(!message.isTooLarge(MAX_UNFINISHED_MESSAGE_BYTES + 1));
  assert.ok(message.isTooLarge(MAX_UNFINISHED_MESSAGE_BYTES + 2));
});

Deno.test("when there are too many, those that never asked go before idle ones, and idle ones before busy ones", () => {
  const at = (sinceMs: number) => {
    const fact = { end: END, sinceMs, isSecure: false };
    return new Connection(sinceMs, 1, fact);
  };
  const traffic = {
    lastSentMs: 0,
    lastReceivedMs: 0,
    ackedBytes: 0,
    receivedBytes: 0,
    notSentBytes: 0,
    segmentsOut: 0,
  };
  const [silent, silentLater, idle, busy, busyLater] = [1, 2, 3, 4, 5].map(at);
  for (const each of [busy!, busyLater!]) {
    each.judge({ traffic, nowMs: 10, isBusy: true, isPressed: false }, LIMITS);
  }
  const answered = { ...traffic, segmentsOut: 1 };
  idle!.judge({ traffic: answered, nowMs: 10, isBusy: false, isPressed: false }, LIMITS);
  const all = [busyLater!, idle!, silentLater!, busy!, silent!];
  assert.deepEqual(excess(all, 5), []);
  const order = [silent, silentLater, idle, busyLater, busy];
  for (let max = 0; max < 5; max++) assert.deepEqual(excess(all, max), order.slice(0, 5 - max));
});
