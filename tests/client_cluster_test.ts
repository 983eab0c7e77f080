// Owns the promises of a client that knows several brokers: whom it asks, when it asks another, and what it never repeats.
// Refuses to own what real brokers do (e2e_client_cluster_test.ts).
import assert from "node:assert/strict";
import fc from "fast-check";
import { AVOIDED_MS, Brokers, UNPROVEN_AVOIDED_MS } from "../api/client/brokers.ts";
import { ClusterTransport } from "../api/client/cluster_transport.ts";
import { WaybillError } from "../api/client/errors.ts";
import { Producer } from "../api/client/producer.ts";
import type { TransportAnswer, TransportRequest } from "../api/client/transport.ts";
import { WaybillClient } from "../api/client.ts";
import { consumerWorld, Reader } from "./support/client_stream.ts";
import { FakeTransport, producerUnderTest, watch } from "./support/client_transport.ts";
import { committed, range } from "./support/consumer_scene.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const A = "http://a:1";
const B = "http://b:1";
const C = "http://c:1";
const GET = { method: "GET", path: "/x", timeoutMs: 1_000 } as const;
const POST = { method: "POST", path: "/x", timeoutMs: 1_000 } as const;
const first = { fraction: () => 0 };

type Reply = unknown | WaybillError;

function refused(): WaybillError {
  const cause = new TypeError("client error (Connect): tcp connect error: Connection refused");
  return new WaybillError("NETWORK_ERROR", "refused", { retryable: true, cause });
}

function reset(): WaybillError {
  return new WaybillError("NETWORK_ERROR", "connection reset", { retryable: true });
}

function unavailable(code: string): WaybillError {
  return new WaybillError(code, code, { retryable: true, status: 503, retryAfterMs: 1_000 });
}

/** Brokers that answer as told; by default with their own address. */
function cluster(urls: readonly string[] = [A, B, C], { discover = true } = {}) {
  const clock = new VirtualClock();
  const asked: string[] = [];
  const reply = new Map<string, (request: TransportRequest) => Reply>();
  const brokers = new Brokers(urls, { clock, randomness: first });
  const transport = new ClusterTransport({
    brokers,
    clock,
    discover,
    open: (url) => ({
      send(request) {
        if (request.path === "/api/cluster" && !reply.has(`${url} cluster`)) {
          return Promise.resolve(answerOf({ brokers: [] }));
        }
        const key = request.path === "/api/cluster" ? `${url} cluster` : url;
        asked.push(request.path === "/x" ? url : `${url}${request.path}`);
        const said = reply.get(key)?.(request) ?? { url };
        return said instanceof WaybillError
          ? Promise.reject(said)
          : Promise.resolve(answerOf(said));
      },
    }),
  });
  return { clock, asked, reply, brokers, transport };
}

function answerOf(body: unknown): TransportAnswer {
  const bytes = new TextEncoder().encode(JSON.stringify(body));
  return { status: 200, header: () => null, body: bytes };
}

Deno.test("a request goes to the next broker when one is not reached, and stays there", async () => {
  const { transport, reply, asked } = cluster();
  reply.set(A, refused);
  await transport.send(POST);
  await transport.send(POST);
  assert.deepEqual(asked, [A, B, B]);
});

Deno.test("what may have happened is asked nowhere else by itself, and the next attempt is", async () => {
  const { transport, reply, asked } = cluster();
  reply.set(A, reset);
  await assert.rejects(transport.send(POST), { code: "NETWORK_ERROR" });
  assert.deepEqual(asked, [A]);
  await transport.send(POST);
  assert.deepEqual(asked, [A, B]);
  asked.length = 0;
  reply.set(B, reset);
  await transport.send(GET);
  assert.deepEqual(asked, [B, C]);
});

Deno.test("a broker that shuts down is left, and what it asks to wait holds for it alone", async () => {
  const { transport, reply, asked } = cluster();
  reply.set(A, () => unavailable("SHUTTING_DOWN"));
  await assert.rejects(transport.send(POST), { code: "SHUTTING_DOWN", retryAfterMs: undefined });
  await transport.send(POST);
  assert.deepEqual(asked, [A, B]);
  const alone = cluster([A]);
  alone.reply.set(A, () => unavailable("SHUTTING_DOWN"));
  await assert.rejects(alone.transport.send(POST), { retryAfterMs: 1_000 });
});

Deno.test("a broker without the partition's leader is passed over once, and not avoided", async () => {
  const { transport, reply, asked } = cluster();
  reply.set(A, () => unavailable("LEADER_NOT_AVAILABLE"));
  reply.set(B, () => unavailable("LEADER_NOT_AVAILABLE"));
  for (const _ of [1, 2, 3]) await transport.send(POST).catch(() => {});
  assert.deepEqual(asked, [A, B, C]);
  reply.clear();
  reply.set(C, () => unavailable("PEER_LOST"));
  for (const _ of [1, 2]) await transport.send(POST).catch(() => {});
  assert.deepEqual(asked.slice(3), [C, A]);
});

Deno.test("a broker that failed is asked again when all others fail, or after a while", async () => {
  const { transport, reply, asked, clock } = cluster([A, B]);
  reply.set(A, refused);
  await transport.send(POST);
  reply.set(B, refused);
  reply.delete(A);
  await transport.send(POST);
  assert.deepEqual(asked, [A, B, B, A]);
  reply.delete(B);
  reply.set(A, reset);
  await clock.advance(AVOIDED_MS);
  await assert.rejects(transport.send(POST));
  await transport.send(POST);
  assert.deepEqual(asked.slice(4), [A, B]);
});

Deno.test("when no broker is reached each was tried once, and the failure is told", async () => {
  const { transport, reply, asked } = cluster();
  for (const url of [A, B, C]) reply.set(url, refused);
  await assert.rejects(transport.send(POST), { code: "NETWORK_ERROR", retryable: true });
  assert.deepEqual(asked.toSorted(), [A, B, C]);
});

Deno.test("whatever brokers do, a change is sent past a broker only if that was not reached (property)", async () => {
  const fates = fc.constantFrom("answers", "refused", "reset", "SHUTTING_DOWN", "NOT_LEADER");
  await fc.assert(fc.asyncProperty(
    fc.array(fc.record({ fates: fc.tuple(fates, fates, fates), waitMs: fc.nat(7_000) }), {
      maxLength: 12,
    }),
    async (steps) => {
      const { transport, reply, asked, clock } = cluster();
      for (const step of steps) {
        const fateOf = new Map([A, B, C].map((url, index) => [url, step.fates[index]!]));
        for (const [url, fate] of fateOf) {
          reply.set(
            url,
            () =>
              fate === "answers"
                ? { url }
                : fate === "refused"
                ? refused()
                : fate === "reset"
                ? reset()
                : unavailable(fate),
          );
        }
        asked.length = 0;
        const outcome = await transport.send(POST).then(() => "answers", () => "failed");
        const met = asked.map((url) => fateOf.get(url)!);
        assert.equal(new Set(asked).size, asked.length);
        assert.ok(met.slice(0, -1).every((fate) => fate === "refused"), `${met}`);
        assert.equal(outcome, met.at(-1) === "answers" ? "answers" : "failed");
        if (outcome === "failed" && met.at(-1) === "refused") assert.equal(met.length, 3);
        await clock.advance(step.waitMs);
      }
    },
  ));
});

Deno.test("brokers that were learnt are asked when all that were handed in are gone", async () => {
  const { transport, reply, asked, clock } = cluster([A]);
  const learnt = [
    { nodeId: "1", host: "a", port: 1 },
    { nodeId: "2", host: "b", port: 1 },
    { nodeId: "3", host: "2001:db8::1", port: 1 },
    { nodeId: "4", host: null, port: null },
  ];
  reply.set(`${A} cluster`, () => ({ brokers: learnt }));
  transport.sighted(["1"]);
  await transport.send(GET);
  assert.deepEqual(asked, [A], "one broker alone is not asked for others");
  transport.sighted(["1", "2"]);
  await clock.advance(0);
  assert.deepEqual(asked, [A, `${A}/api/cluster`]);
  asked.length = 0;
  await transport.send({ ...POST, leader: "2" });
  await transport.send({ ...POST, leader: "9" });
  reply.set(A, refused);
  reply.set(B, refused);
  await transport.send({ ...POST, leader: "2" });
  assert.deepEqual(asked, [B, A, B, A, "http://[2001:db8::1]:1"]);
  asked.length = 0;
  await transport.send({ ...POST, leader: "2" });
  assert.deepEqual(
    asked,
    ["http://[2001:db8::1]:1"],
    "a leader that is gone is not tried each time",
  );
  await clock.advance(AVOIDED_MS);
  await transport.send({ ...POST, leader: "2" });
  assert.equal(asked.includes(B), true);
});

Deno.test("a learnt broker that this side cannot reach or trust is left out, and costs no message", async () => {
  const { transport, reply, asked, clock, brokers } = cluster([A]);
  brokers.learned([
    { nodeId: "1", host: "a", port: 1 },
    { nodeId: "2", host: "b", port: 1 },
    { nodeId: "3", host: "127.0.0.1", port: 1 },
    { nodeId: "4", host: "0.0.0.0", port: 1 },
  ]);
  assert.deepEqual(["2", "3", "4"].map((nodeId) => brokers.urlOf(nodeId)), [B, null, null]);
  reply.set(B, () => new WaybillError("TLS_FAILED", "another name", { retryable: false }));
  await transport.send({ ...POST, leader: "2" });
  await clock.advance(AVOIDED_MS);
  await transport.send({ ...POST, leader: "2" });
  assert.deepEqual(asked, [B, A, A]);
  await clock.advance(UNPROVEN_AVOIDED_MS);
  reply.delete(B);
  await transport.send({ ...POST, leader: "2" });
  assert.equal(asked.at(-1), B);
  reply.set(A, () => new WaybillError("TLS_FAILED", "expired", { retryable: false }));
  await assert.rejects(transport.send(POST), { code: "TLS_FAILED" });
});

Deno.test("who may not see the cluster asks once, and goes on with what was handed in", async () => {
  const { transport, reply, asked, clock } = cluster([A, B]);
  const forbidden = new WaybillError("FORBIDDEN", "no", { retryable: false, status: 403 });
  reply.set(`${A} cluster`, () => forbidden);
  for (const _ of [1, 2, 3]) {
    await transport.send({ ...POST, leader: "7" });
    await clock.advance(120_000);
  }
  assert.deepEqual(asked, [`${A}/api/cluster`, A, A, A]);
  const alone = cluster([A, B], { discover: false });
  alone.reply.set(`${A} cluster`, () => forbidden);
  await alone.transport.send({ ...POST, leader: "7" });
  assert.deepEqual(alone.asked, [A]);
});

Deno.test("a cluster of one teaches no address: the one that was handed in may be a proxy's", () => {
  const brokers = new Brokers([A], { clock: new VirtualClock(), randomness: first });
  brokers.learned([{ nodeId: "1", host: "127.0.0.1", port: 9 }]);
  assert.equal(brokers.several, false);
  assert.equal(brokers.urlOf("1"), null);
  brokers.failed(A);
  assert.equal(brokers.next, A);
});

Deno.test("a client takes one address or several, and refuses none", async () => {
  await using one = new WaybillClient({ url: A });
  await using several = new WaybillClient({ url: [A, `${B}/`, B] });
  assert.ok(one && several);
  assert.throws(() => new WaybillClient({ url: [] }), { code: "INVALID_REQUEST" });
});

/** A fake broker of a cluster, which tells who leads and writes down whom publishes were meant for. */
class LedTransport extends FakeTransport {
  leaders: (string | null)[] = ["1", "2", "3"];
  readonly meantFor: (string | undefined)[] = [];

  override async send(request: TransportRequest): Promise<TransportAnswer> {
    const isPublish = /partitions\/\d+\/messages/.test(request.path);
    if (isPublish) this.meantFor.push(request.leader);
    const answer = await super.send(request);
    if (request.method !== "GET") return answer;
    const body = JSON.parse(new TextDecoder().decode(answer.body));
    const partitions = this.leaders.map((leader, partition) => ({
      partition,
      leader,
      isr: ["1", "2", "3"],
    }));
    return answerOf({ ...body, partitions });
  }
}

function ledProducer() {
  const { time, ports } = producerUnderTest();
  const transport = new LedTransport(time);
  return { time, transport, producer: new Producer(transport, ports, { lingerMs: 0 }) };
}

Deno.test("each partition's batches are meant for its leader, and the leader of then after it has moved", async () => {
  const { time, transport, producer } = ledProducer();
  const send = async (partition: number) => {
    const sent = watch(producer.send("t", { partition, value: "v" }));
    await time.advance(1_000);
    assert.equal(sent.code, "done");
  };
  for (const partition of [0, 1, 2]) await send(partition);
  assert.deepEqual(transport.meantFor, ["1", "2", "3"]);
  transport.meantFor.length = 0;
  transport.leaders = ["2", "2", "3"];
  let refusals = 2;
  transport.fate = () => refusals-- > 0 ? { status: 503, code: "LEADER_NOT_AVAILABLE" } : "stored";
  await send(0);
  assert.equal(transport.meantFor[0], "1");
  assert.equal(transport.meantFor.at(-1), "2");
  await time.advance(60_000);
  transport.leaders = ["3", "3", "3"];
  await send(0);
  await send(0);
  assert.equal(transport.meantFor.at(-1), "3", "asked again after a while without any failure");
  await producer.close();
});

Deno.test("a partition without leader is asked for again, and not at every message", async () => {
  const { time, transport, producer } = ledProducer();
  transport.leaders = [null, "2", "3"];
  for (let count = 0; count < 100; count++) {
    void producer.send("t", { partition: 0, value: "v" });
    await time.advance(10);
  }
  assert.ok(
    transport.metadataAsked >= 3 && transport.metadataAsked <= 6,
    `${transport.metadataAsked}`,
  );
  await producer.close();
});

Deno.test("a broker alone is not asked again who leads, whatever fails", async () => {
  const { time, transport, producer } = producerUnderTest();
  let failures = 5;
  transport.fate = () => failures-- > 0 ? "dropped" : "stored";
  const under = producer();
  const sent = watch(under.send("t", "v"));
  await time.advance(20_000);
  assert.equal(sent.code, "done");
  assert.equal(transport.metadataAsked, 1);
  await under.close();
});

Deno.test("a consumer whose broker drains goes to another at once, as the same member", async () => {
  const { world, consumer, socket, line } = await consumerWorld({ urls: [A, B] });
  await world.publish(6);
  const resumed: boolean[] = [];
  const billing = consumer({ onConnected: (member) => resumed.push(member.resumed) });
  const reader = new Reader(billing);
  await world.until(() => reader.messages.length === 6, "messages");
  const before = world.time.monotonic();
  socket().shut(1012, "the broker is shutting down");
  assert.equal(line.sockets.length, 2);
  assert.deepEqual(line.sockets.map(({ url }) => new URL(url).host), ["a:1", "b:1"]);
  assert.equal(world.time.monotonic(), before);
  await world.publish(3);
  await world.until(() => reader.messages.length === 9, "the rest");
  assert.deepEqual(reader.offsets(), range(0, 9));
  assert.deepEqual(resumed, [false, true]);
  const all = watch(billing.commitAll());
  await world.until(() => all.code === "done", "the commit");
  assert.equal(await committed(world), 9);
  await billing.close();
});

Deno.test("a consumer tries broker after broker until one welcomes it, and waits longer each time", async () => {
  const { world, consumer, line } = await consumerWorld({ urls: [A, B, C] });
  line.refuseConnections = true;
  const billing = consumer({ backoff: { baseMs: 100, maxMs: 10_000 } });
  const reader = new Reader(billing);
  await world.until(() => line.sockets.length === 3, "three attempts");
  assert.deepEqual(line.sockets.map(({ url }) => new URL(url).host), ["a:1", "b:1", "c:1"]);
  line.refuseConnections = false;
  await world.publish(2);
  await world.until(() => reader.messages.length === 2, "messages");
  assert.ok(line.sockets.length <= 5, `${line.sockets.length} attempts`);
  await billing.close();
});
