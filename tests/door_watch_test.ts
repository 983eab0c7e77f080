// Owns the tests of the watch over connections and WebSockets, on a made-up kernel in virtual time.
import assert from "node:assert/strict";
import { Connection, type DoorLimits, type EndReason } from "../ops/door/connection.ts";
import { Guard } from "../ops/door/guard.ts";
import { endId, type Kernel } from "../ops/door/kernel.ts";
import { SocketWatch } from "../ops/door/sockets.ts";
import { Visit, Visits } from "../ops/door/visits.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const PORT = 8080;
const MIB = 1_048_576;
const LIMITS: DoorLimits = {
  maxConnections: 1_000,
  maxConnectionsPerAddress: 1_000,
  headerTimeoutMs: 10_000,
  bodyTimeoutMs: 30_000,
  idleTimeoutMs: 120_000,
};

/** A kernel whose descriptors are connections from 10.0.0.1 with their own number as port, as far as `open` has them. */
function madeUpKernel() {
  const open = new Map<number, { receivedBytes: number; receiveBuffer: number | null }>();
  const ended: number[] = [];
  const gone = (fd: number) => {
    ended.push(fd);
    open.delete(fd);
  };
  const kernel: Kernel = {
    maxOpenFiles: () => 100_000,
    fingerprint: (fd) => open.has(fd) ? fd : 0,
    remoteEnd: (fd) =>
      open.has(fd) ? { id: endId("10.0.0.1", fd), address: "10.0.0.1", network: "10.0.0.1" } : null,
    localPort: (fd) => open.has(fd) ? PORT : 0,
    isListening: () => false,
    traffic: (fd) => {
      const { receivedBytes } = open.get(fd)!;
      return {
        ...{ lastSentMs: 0, lastReceivedMs: 0, ackedBytes: 0, notSentBytes: 0, segmentsOut: 0 },
        receivedBytes,
      };
    },
    limitReceiveBuffer: (fd, bytes) => void (open.get(fd)!.receiveBuffer = bytes),
    unreadBytes: () => 0,
    end: gone,
    reset: gone,
    retireListener: () => {},
  };
  return {
    kernel,
    ended,
    connect: (fd: number) => void open.set(fd, { receivedBytes: 0, receiveBuffer: null }),
    receive: (fd: number, bytes: number) => void (open.get(fd)!.receivedBytes += bytes),
    receiveBuffer: (fd: number) => open.get(fd)!.receiveBuffer,
  };
}

function guardScene(limits: Partial<DoorLimits> = {}) {
  const clock = new VirtualClock();
  const world = madeUpKernel();
  const visits = new Visits(() => new Response(null), { noteAll: false });
  const guard = new Guard({
    ...{ kernel: world.kernel, visits, port: PORT, isSecure: false, clock, timers: clock },
    limits: { ...LIMITS, ...limits },
    report: (level, message, error) => assert.equal(level, "info", `${message}: ${error}`),
  });
  /** The WebSocket that a request on `fd` becomes. */
  const upgrade = (fd: number) => {
    const remoteAddr = { transport: "tcp" as const, hostname: "10.0.0.1", port: fd };
    const visit = new Visit(new Request("http://x"), { remoteAddr }, 0);
    visits.onSocket(visit);
    return visit;
  };
  return { ...world, clock, guard, upgrade };
}

Deno.test("a WebSocket's connection is found before its first frame, and little is taken ahead for it", () => {
  const it = guardScene();
  it.connect(20);
  it.connect(21);
  it.upgrade(21);
  assert.deepEqual([it.guard.counts().sockets, it.receiveBuffer(21)], [1, 262_144]);
  assert.equal(it.receiveBuffer(20), null, "others take as much as they like");
  it.guard.stop();
});

Deno.test("a WebSocket whose connection cannot be found at once is found later", async () => {
  const it = guardScene();
  it.upgrade(30);
  assert.equal(it.guard.counts().sockets, 0);
  it.connect(30);
  await it.clock.advance(150);
  assert.equal(it.guard.counts().sockets, 1);
  it.guard.stop();
});

Deno.test("fragments without end are cut off within three looks of 5 ms", async () => {
  const it = guardScene();
  it.connect(20);
  it.upgrade(20);
  it.receive(20, 2 * MIB);
  await it.clock.advance(5);
  assert.deepEqual(it.ended, [], "whole messages may wait to be heard");
  it.receive(20, 2 * MIB);
  await it.clock.advance(5);
  assert.deepEqual(it.ended, [20]);
  assert.deepEqual(it.guard.counts(), { connections: 0, sockets: 0, ended: 1 });
  it.guard.stop();
});

Deno.test("messages that come whole are never too much", async () => {
  const it = guardScene();
  it.connect(20);
  const visit = it.upgrade(20);
  for (let turn = 0; turn < 100; turn++) {
    it.receive(20, MIB);
    visit.messageArrived();
    await it.clock.advance(5);
  }
  assert.deepEqual(it.ended, []);
  it.guard.stop();
});

Deno.test("many who have begun a message hide none who sends without end", async () => {
  const clock = new VirtualClock();
  const it = madeUpKernel();
  const cut: [number, EndReason][] = [];
  const watch: SocketWatch = new SocketWatch({
    kernel: it.kernel,
    timers: clock,
    end: (connection, reason) => {
      cut.push([connection.fd, reason]);
      watch.forget(connection);
    },
    onError: (error) => assert.fail(String(error)),
  });
  for (let fd = 1; fd <= 500; fd++) {
    it.connect(fd);
    const end = { id: `${fd}`, address: "10.0.0.1", network: "10.0.0.1" };
    const connection = new Connection(fd, fd, { end, sinceMs: 0, isSecure: false });
    watch.add(connection, new Visit(new Request("http://x"), { remoteAddr: null! }, 0));
    it.receive(fd, 10_000);
  }
  await clock.advance(50);
  it.receive(400, 2 * MIB);
  await clock.advance(50);
  assert.deepEqual(cut, [[400, "message too large"]]);
  watch.stop();
});

Deno.test("what timed out together ends a few at a time, unless room is short", async () => {
  for (
    const { maxConnections, endedAtOnce } of [
      { maxConnections: 1_000, endedAtOnce: 32 },
      // Of 250 more than three quarters are taken until 187 are left.
      { maxConnections: 250, endedAtOnce: 13 + 32 },
    ]
  ) {
    const it = guardScene({ maxConnections });
    for (let fd = 20; fd < 220; fd++) it.connect(fd);
    await it.clock.advance(10_000);
    assert.deepEqual(it.ended, []);
    await it.clock.advance(50);
    assert.equal(it.ended.length, endedAtOnce);
    await it.clock.advance(1_000);
    assert.equal(it.ended.length, 200);
    it.guard.stop();
  }
});
