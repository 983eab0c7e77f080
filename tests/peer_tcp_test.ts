import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import { selfSigned } from "./support/self_signed.ts";
import { PeerScene } from "./support/peer_scene.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const SOON = { timeoutMs: 5_000 };

Deno.test("a call crosses a real socket with its data, byte arrays and all", async () => {
  await using scene = new PeerScene();
  const a = await scene.open("a", { incarnation: () => 7 });
  const b = await scene.open("b");
  const callers: unknown[] = [];
  b.handle("echo", (args, caller) => {
    callers.push(caller);
    return Promise.resolve(args);
  });
  const args = {
    none: null,
    small: new Uint8Array([1, 2, 3]),
    batches: [new Uint8Array(5_000).fill(7), new Uint8Array(), new Uint8Array(100_000).fill(8)],
    number: 2 ** 53 - 1,
    fraction: -0.25,
    text: "grün",
    deep: [{ of: [true, false] }],
  };
  const answer = await a.call("b", { method: "echo", args: { ...args, left: undefined } }, SOON);
  assert.deepEqual(answer, args);
  assert.deepEqual(callers, [{ nodeId: "a", incarnation: 7 }]);
});

Deno.test("errors cross a real socket with code, message and details", async () => {
  await using scene = new PeerScene();
  const a = await scene.open("a");
  const b = await scene.open("b");
  b.handle(
    "refuse",
    () => Promise.reject(new BrokerError("NOT_LEADER", "not me", { leader: "c" })),
  );
  b.handle("fail", () => Promise.reject(new TypeError("secret inner thing")));
  const refused = { code: "NOT_LEADER", message: "not me", details: { leader: "c" } };
  await assert.rejects(a.call("b", { method: "refuse", args: null }, SOON), refused);
  await assert.rejects(a.call("b", { method: "fail", args: null }, SOON), (error: BrokerError) => {
    return error.code === "INTERNAL" && !error.message.includes("inner");
  });
  assert.equal(scene.reports.length, 1);
  const unserved = a.call("b", { method: "nothing", args: null }, SOON);
  await assert.rejects(unserved, { code: "PEER_UNAVAILABLE" });
});

Deno.test("a hundred calls at once each get their own answer", async () => {
  await using scene = new PeerScene();
  const a = await scene.open("a");
  const b = await scene.open("b");
  b.handle("double", async (args) => {
    if ((args as number) % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    return (args as number) * 2;
  });
  const numbers = Array.from({ length: 100 }, (_, number) => number);
  const call = (args: number) => a.call("b", { method: "double", args, lane: "data" }, SOON);
  assert.deepEqual(await Promise.all(numbers.map(call)), numbers.map((number) => number * 2));
});

Deno.test("calls of a lane begin in the order in which they were made, also those made while it connects", async () => {
  await using scene = new PeerScene();
  const a = await scene.open("a");
  const b = await scene.open("b");
  const heard: number[] = [];
  b.handle("note", (args) => {
    heard.push((args as { number: number }).number);
    return Promise.resolve(null);
  });
  const numbers = Array.from({ length: 300 }, (_, number) => number);
  const calls: Promise<unknown>[] = [];
  for (const number of numbers) {
    const args = { number, bytes: new Uint8Array(number % 7 === 0 ? 60_000 : 10) };
    calls.push(a.call("b", { method: "note", args, lane: "replica" }, SOON));
    if (number % 50 === 49) await calls[number - 20];
  }
  await Promise.all(calls);
  assert.deepEqual(heard, numbers);
});

Deno.test("a large answer does not hold up the small ones of another lane", async () => {
  await using scene = new PeerScene();
  const a = await scene.open("a");
  const b = await scene.open("b");
  const large = new Uint8Array(20 * 1_048_576).map((_, at) => at);
  b.handle("large", () => Promise.resolve({ bytes: large }));
  b.handle("small", () => Promise.resolve("small"));
  await a.call("b", { method: "small", args: null }, SOON);
  let isThere = false;
  const coming = a.call<{ bytes: Uint8Array }>(
    "b",
    { method: "large", args: null, lane: "data" },
    SOON,
  ).finally(() => isThere = true);
  let before = 0;
  while (!isThere) {
    await a.call("b", { method: "small", args: null }, SOON);
    if (!isThere) before++;
  }
  assert.ok(before >= 3, `${before} small answers came before the large one`);
  assert.deepEqual((await coming).bytes, large);
});

Deno.test("who is not there, or where nobody knows, was not asked", async () => {
  await using scene = new PeerScene();
  const a = await scene.open("a");
  const call = () => a.call("b", { method: "echo", args: null }, SOON);
  await assert.rejects(call(), { code: "PEER_UNAVAILABLE" });
  const b = await scene.open("b");
  await b.close();
  await assert.rejects(call(), { code: "PEER_UNAVAILABLE" });
  const back = await scene.open("b");
  back.handle("echo", () => Promise.resolve("back"));
  assert.equal(await call(), "back");
});

Deno.test("a connection that is cut in the middle of a call loses it, and the next call connects anew", async () => {
  await using scene = new PeerScene();
  const a = await scene.open("a");
  const b = await scene.open("b");
  const relay = scene.relay("b");
  const aborted = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  b.handle("wait", (_args, _caller, signal) => {
    signal.addEventListener("abort", () => aborted.resolve());
    begun.resolve();
    return new Promise(() => {});
  });
  b.handle("echo", (args) => Promise.resolve(args));
  const waiting = a.call("b", { method: "wait", args: null }, SOON);
  const lost = assert.rejects(waiting, { code: "PEER_LOST", details: { nodeId: "b" } });
  await begun.promise;
  relay.cut();
  await lost;
  await aborted.promise;
  assert.equal(await a.call("b", { method: "echo", args: 1 }, SOON), 1);
});

Deno.test("a connection that is silently dead is found on both sides", async () => {
  await using scene = new PeerScene();
  const bounds = { pingEveryMs: 20, silenceMs: 100 };
  const a = await scene.open("a", { bounds });
  const b = await scene.open("b", { bounds });
  const relay = scene.relay("b");
  const aborted = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  b.handle("wait", (_args, _caller, signal) => {
    signal.addEventListener("abort", () => aborted.resolve());
    begun.resolve();
    return new Promise(() => {});
  });
  const started = performance.now();
  const lost = assert.rejects(a.call("b", { method: "wait", args: null }, SOON), {
    code: "PEER_LOST",
  });
  await begun.promise;
  relay.freeze();
  await Promise.all([lost, aborted.promise]);
  assert.ok(performance.now() - started < 2_000);
});

Deno.test("a connection on which nobody calls stays, as long as the other side is there", async () => {
  await using scene = new PeerScene();
  const bounds = { pingEveryMs: 10, silenceMs: 50 };
  const a = await scene.open("a", { bounds });
  const b = await scene.open("b", { bounds });
  const relay = scene.relay("b");
  b.handle("echo", (args) => Promise.resolve(args));
  await a.call("b", { method: "echo", args: 1 }, SOON);
  await new Promise((resolve) => setTimeout(resolve, 150));
  await a.call("b", { method: "echo", args: 2 }, SOON);
  assert.equal(relay.recorded.length, 1);
});

Deno.test("who gives up hears so at once, and the handler hears it too", async () => {
  await using scene = new PeerScene();
  const a = await scene.open("a");
  const b = await scene.open("b");
  const begun = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<void>();
  b.handle("wait", (_args, _caller, signal) => {
    begun.resolve();
    return new Promise((resolve) => {
      signal.addEventListener("abort", () => {
        aborted.resolve();
        resolve(null);
      });
    });
  });
  const giveUp = new AbortController();
  const call = a.call("b", { method: "wait", args: null }, { ...SOON, signal: giveUp.signal });
  const lost = assert.rejects(call, { code: "PEER_LOST" });
  await begun.promise;
  giveUp.abort();
  await Promise.all([lost, aborted.promise]);
  const never = a.call("b", { method: "wait", args: null }, { ...SOON, signal: giveUp.signal });
  await assert.rejects(never, { code: "PEER_UNAVAILABLE" });
});

Deno.test("a deadline is kept by the timers port", async () => {
  await using scene = new PeerScene();
  const time = new VirtualClock();
  const a = await scene.open("a", { timers: time, clock: time });
  const b = await scene.open("b");
  const begun = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<void>();
  b.handle("wait", (_args, _caller, signal) => {
    begun.resolve();
    signal.addEventListener("abort", () => aborted.resolve());
    return new Promise(() => {});
  });
  const lost = assert.rejects(a.call("b", { method: "wait", args: null }, { timeoutMs: 300 }), {
    code: "PEER_LOST",
  });
  await begun.promise;
  await time.advance(300);
  await Promise.all([lost, aborted.promise]);
});

Deno.test("more calls than may be open are refused unsent, and their places come back", async () => {
  await using scene = new PeerScene();
  const a = await scene.open("a", { bounds: { maxCalls: 4 } });
  const b = await scene.open("b", { bounds: { maxCalls: 4 } });
  const open = Promise.withResolvers<void>();
  b.handle("echo", (args) => Promise.resolve(args));
  b.handle("wait", async () => {
    await open.promise;
    return "done";
  });
  const call = () => a.call("b", { method: "wait", args: null }, SOON);
  await a.call("b", { method: "echo", args: 0 }, SOON);
  const four = [call(), call(), call(), call()];
  await assert.rejects(call(), { code: "PEER_UNAVAILABLE" });
  open.resolve();
  assert.deepEqual(await Promise.all(four), ["done", "done", "done", "done"]);
  assert.equal(await a.call("b", { method: "echo", args: 5 }, SOON), 5);
});

Deno.test("no further call begins while too many answers wait to be written", async () => {
  await using scene = new PeerScene();
  const a = await scene.open("a");
  const b = await scene.open("b", { bounds: { maxAnswerBytes: 100_000 } });
  const relay = scene.relay("b");
  let begun = 0;
  b.handle("warm", () => Promise.resolve(null));
  b.handle("large", () => {
    begun++;
    return Promise.resolve(new Uint8Array(1_048_576));
  });
  const ask = (method: string) =>
    a.call<Uint8Array>("b", { method, args: null, lane: "data" }, SOON);
  await ask("warm");
  relay.freezeAnswers();
  const calls = Array.from({ length: 60 }, () => ask("large"));
  // All of it has arrived long before: what the sockets themselves hold has begun, the rest has not.
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.ok(begun > 0 && begun < 40, `${begun} have begun`);
  relay.thaw();
  const answers = await Promise.all(calls);
  assert.equal(begun, 60);
  assert.ok(answers.every((bytes) => bytes.length === 1_048_576));
});

Deno.test("what is too large for a peer is refused by whoever would have to send it", async () => {
  await using scene = new PeerScene();
  const bounds = { maxFrameBytes: 10_000 };
  const a = await scene.open("a", { bounds });
  const b = await scene.open("b", { bounds });
  b.handle("large", () => Promise.resolve(new Uint8Array(20_000)));
  b.handle("echo", (args) => Promise.resolve(args));
  const args = new Uint8Array(20_000);
  await assert.rejects(a.call("b", { method: "echo", args }, SOON), { code: "REQUEST_TOO_LARGE" });
  await assert.rejects(a.call("b", { method: "large", args: null }, SOON), { code: "INTERNAL" });
  await assert.rejects(a.call("b", { method: "echo", args: new Map([[1, () => {}]]) }, SOON));
  assert.equal(await a.call("b", { method: "echo", args: "still there" }, SOON), "still there");
});

Deno.test("peers inside TLS know each other by their certificates and the secret", async () => {
  await using scene = new PeerScene();
  const { cert, key } = await selfSigned("localhost");
  const other = await selfSigned("localhost");
  const tls = { cert, key, ca: cert };
  const a = await scene.open("a", { tls });
  const b = await scene.open("b", { tls });
  b.handle("echo", (args) => Promise.resolve(args));
  const args = new Uint8Array(300_000).fill(3);
  assert.deepEqual(await a.call("b", { method: "echo", args }, SOON), args);
  const plain = await scene.open("c", { bounds: { handshakeMs: 200 } });
  await assert.rejects(plain.call("b", { method: "echo", args }, SOON), {
    code: "PEER_UNAVAILABLE",
  });
  const stranger = await scene.open("d", { tls: { ...tls, ca: other.cert } });
  await assert.rejects(stranger.call("b", { method: "echo", args }, SOON), {
    code: "PEER_UNAVAILABLE",
  });
  const wrong = await scene.open("e", { tls, secret: "another secret, long enough" });
  await assert.rejects(wrong.call("b", { method: "echo", args }, SOON), {
    code: "PEER_UNAVAILABLE",
  });
});
