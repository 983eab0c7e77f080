import assert from "node:assert/strict";
import type { Peers } from "../actors/cluster/peers.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { MemoryNetwork } from "./support/memory_peers.ts";
import { VirtualClock } from "./support/virtual_time.ts";

function scene() {
  const time = new VirtualClock();
  const network = new MemoryNetwork({ clock: time, timers: time, delayMs: () => 5 });
  return { time, network, a: network.join("a", 7), b: network.join("b") };
}

/** What became of a call, once it has. */
function outcome(call: Promise<unknown>): { of: unknown } {
  const seen: { of: unknown } = { of: "none" };
  call.then((value) => seen.of = value, (error) => seen.of = error.code);
  return seen;
}

function ask(from: Peers, args: unknown = null, timeoutMs = 10_000): { of: unknown } {
  return outcome(from.call("b", { method: "echo", args }, { timeoutMs }));
}

Deno.test("a call between nodes in memory takes a way there and back, and shares nothing", async () => {
  const { time, a, b } = scene();
  const heard: unknown[] = [];
  b.handle("echo", (args, caller) => {
    heard.push(args, caller);
    return Promise.resolve(args);
  });
  const args = { bytes: new Uint8Array([1, 2]), none: undefined };
  const seen = ask(a, args);
  args.bytes[0] = 9;
  await time.advance(9);
  assert.equal(seen.of, "none");
  await time.advance(1);
  assert.deepEqual(seen.of, { bytes: new Uint8Array([1, 2]) });
  assert.deepEqual(heard[1], { nodeId: "a", incarnation: 7 });
  assert.notEqual(heard[0], seen.of);
});

Deno.test("errors between nodes in memory keep code and details", async () => {
  const { time, a, b } = scene();
  b.handle("echo", () => Promise.reject(new BrokerError("NOT_LEADER", "no", { leader: "c" })));
  const call = a.call("b", { method: "echo", args: null }, { timeoutMs: 100 });
  const refused = assert.rejects(call, { code: "NOT_LEADER", details: { leader: "c" } });
  await time.advance(20);
  await refused;
});

Deno.test("a node that was never there is unavailable, one that goes in the middle is lost", async () => {
  const { time, network, a, b } = scene();
  let handlers = 0;
  let aborted = 0;
  b.handle("echo", (_args, _caller, signal) => {
    handlers++;
    signal.addEventListener("abort", () => aborted++);
    return new Promise(() => {});
  });
  const seen = ask(a);
  await time.advance(6);
  network.leave("b");
  await time.advance(0);
  assert.deepEqual([seen.of, handlers, aborted], ["PEER_LOST", 1, 1]);
  const after = ask(a);
  await time.advance(5);
  assert.equal(after.of, "PEER_UNAVAILABLE");
  network.join("b").handle("echo", () => Promise.resolve("back"));
  const again = ask(a);
  await time.advance(10);
  assert.equal(again.of, "back");
});

Deno.test("a cut holds calls up until it is noticed, then they are lost and later ones are not sent", async () => {
  const { time, network, a, b } = scene();
  let count = 0;
  b.handle("echo", () => Promise.resolve(++count));
  const first = ask(a);
  await time.advance(10);
  assert.equal(first.of, 1);
  network.cut("a", "b");
  const held = ask(a);
  await time.advance(1_999);
  assert.equal(held.of, "none");
  await time.advance(1);
  assert.deepEqual([held.of, count], ["PEER_LOST", 1]);
  const later = ask(a);
  await time.advance(5);
  assert.equal(later.of, "PEER_UNAVAILABLE");
  network.heal();
  const healed = ask(a);
  await time.advance(10);
  assert.equal(healed.of, 2);
});

Deno.test("what a short cut held up arrives in order when it heals", async () => {
  const { time, network, a, b } = scene();
  const heard: unknown[] = [];
  b.handle("echo", (args) => {
    heard.push(args);
    return Promise.resolve(args);
  });
  ask(a, 0);
  await time.advance(10);
  network.cutOneWay("a", "b");
  const calls = [1, 2, 3].map((args) => ask(a, args));
  await time.advance(500);
  assert.deepEqual(heard, [0]);
  network.heal("a", "b");
  await time.advance(10);
  assert.deepEqual(heard, [0, 1, 2, 3]);
  assert.deepEqual(calls.map(({ of }) => of), [1, 2, 3]);
});

Deno.test("with the way back cut a call happens, and its answer is lost", async () => {
  const { time, network, a, b } = scene();
  let count = 0;
  b.handle("echo", () => Promise.resolve(++count));
  ask(a);
  await time.advance(10);
  network.cutOneWay("b", "a");
  const seen = ask(a);
  await time.advance(3_000);
  assert.deepEqual([seen.of, count], ["PEER_LOST", 2]);
});

Deno.test("a call that takes too long is lost, and its handler hears that nobody waits", async () => {
  const { time, a, b } = scene();
  let aborted = 0;
  b.handle("echo", (_args, _caller, signal) => {
    signal.addEventListener("abort", () => aborted++);
    return new Promise(() => {});
  });
  const seen = ask(a, null, 50);
  await time.advance(56);
  assert.deepEqual([seen.of, aborted], ["PEER_LOST", 1]);
  const giveUp = new AbortController();
  const given = outcome(
    a.call("b", { method: "echo", args: 1 }, { timeoutMs: 1_000, signal: giveUp.signal }),
  );
  await time.advance(20);
  giveUp.abort();
  await time.advance(5);
  assert.deepEqual([given.of, aborted, time.pendingTimers], ["PEER_LOST", 2, 0]);
});

Deno.test("only plain data cross between nodes in memory", async () => {
  const { a } = scene();
  const call = a.call("b", { method: "echo", args: new Map() }, { timeoutMs: 1 });
  await assert.rejects(call, /only plain data/);
});
