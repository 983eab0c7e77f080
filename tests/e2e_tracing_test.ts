// Owns proof that a broker started with OTEL_DENO exports spans across publish, store, deliver and commit, with the
// permissions it always has, and that one started without exports nothing.
// Refuses to own what the broker itself tells of a trace (traces_api_test.ts).
// Invariant: the real process, a real collector, real sockets.
import assert from "node:assert/strict";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { type CollectedSpan, startCollector } from "./support/otlp_collector.ts";

const idOf = (digit: string) => digit.repeat(32);
const SPAN = "00f067aa0ba902b7";
const parentOf = (traceId: string, flags = "01") => `00-${traceId}-${SPAN}-${flags}`;
const GROUP_ARGS = ["--group-initial-delay-ms=0", "--group-rebalance-delay-ms=0"];

// deno-lint-ignore no-explicit-any -- what a test reads out of an answer is checked by its assertions
type Any = any;

async function ask(url: string, body: unknown, traceId?: string, flags?: string): Promise<Any> {
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      ...(traceId === undefined ? {} : { traceparent: parentOf(traceId, flags) }),
    },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  assert.ok(response.status < 300, `${response.status} ${JSON.stringify(answer)}`);
  return answer;
}

const SHIPPED = new URL("../ops/deploy/opentelemetry/broker.env", import.meta.url);

/** What the shipped file says, but for where the collector is. */
async function shippedEnvironment(collector: { readonly url: string }) {
  const lines = (await Deno.readTextFile(SHIPPED)).split("\n").filter((line) => /^\w+=/.test(line));
  return {
    ...Object.fromEntries(lines.map((line) => line.split("="))),
    ...environmentOf(collector),
  };
}

function environmentOf(collector: { readonly url: string }): Record<string, string> {
  return {
    OTEL_DENO: "true",
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
  };
}

function only(spans: readonly CollectedSpan[], name: string, traceId?: string): CollectedSpan {
  const found = spans.filter((span) =>
    span.name === name && (traceId === undefined || span.traceId === traceId)
  );
  assert.equal(found.length, 1, `${found.length} spans ${name} ${traceId}`);
  return found[0]!;
}

function byId(spans: readonly CollectedSpan[], { parentSpanId }: CollectedSpan): CollectedSpan {
  const found = spans.find(({ spanId }) => spanId === parentSpanId);
  assert.ok(found !== undefined, `there is no span ${parentSpanId}`);
  return found;
}

/** A consumer that commits what it got, once. */
async function consumeOverWebSocket(url: string, messages: number): Promise<void> {
  const path = "/api/groups/streamers/stream?topics=orders&autoOffsetReset=earliest";
  const socket = new WebSocket(url.replace("http", "ws") + path);
  const committed = Promise.withResolvers<void>();
  let left = messages;
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.type === "messages") {
      left -= frame.messages.length;
      const offset = frame.messages.at(-1).offset + 1;
      const offsets = [{ topic: "orders", partition: 0, offset }];
      if (left === 0) socket.send(JSON.stringify({ type: "commit", id: 1, offsets }));
    }
    if (frame.type === "committed") committed.resolve();
    if (frame.type === "error") committed.reject(new Error(data));
  };
  await committed.promise;
  const closed = new Promise((resolve) => socket.onclose = resolve);
  socket.close(1000);
  await closed;
}

Deno.test("spans across publish, store, deliver and commit reach a collector with their parents and links", () =>
  withDataDir(async (dataDir) => {
    await using collector = startCollector();
    const environment = await shippedEnvironment(collector);
    const broker = await startBrokerProcess({ dataDir, environment, args: GROUP_ARGS });
    const { url } = broker;
    const [published, polled, committed] = ["a", "b", "c"].map(idOf) as [string, string, string];
    await ask(`${url}/api/topics`, { name: "orders", partitions: 1 });
    const messages = [{ value: "a" }, { value: "b" }];
    await ask(`${url}/api/messages:publish`, { topic: "orders", messages }, published);
    const members = `${url}/api/groups/billing/members`;
    const joined = { topics: ["orders"], autoOffsetReset: "earliest" };
    const { memberId } = await ask(members, joined);
    const poll = await ask(`${members}/${memberId}:poll`, { waitMs: 2_000 }, polled);
    assert.equal(poll.messages.length, 2);
    const offsets = [{ topic: "orders", partition: 0, offset: 2 }];
    await ask(`${url}/api/offsets:commit`, { groupId: "billing", offsets }, committed);
    await consumeOverWebSocket(url, 2);
    await broker.stop("SIGTERM");
    const { spans } = collector;

    const publish = only(spans, "publish orders");
    const request = byId(spans, publish);
    assert.deepEqual([publish.traceId, request.traceId], [published, published]);
    assert.deepEqual([request.scope, request.parentSpanId], ["deno", SPAN]);
    assert.equal(publish.attributes["messaging.batch.message_count"], "2");
    const store = only(spans, "store orders");
    assert.equal(store.parentSpanId, publish.spanId);
    assert.equal(store.attributes["waybill.offset.first"], "0");
    assert.equal(store.attributes["waybill.durability"], "fsync");
    assert.ok(store.startMs >= publish.startMs && store.endMs <= publish.endMs);

    const deliver = only(spans, "deliver orders", polled);
    assert.equal(byId(spans, deliver).parentSpanId, SPAN, "the poll's own request");
    assert.deepEqual(deliver.links, [{ traceId: published, spanId: SPAN }]);
    assert.equal(deliver.attributes["messaging.consumer.group.name"], "billing");
    const commit = only(spans, "commit billing");
    assert.equal(commit.traceId, committed);
    assert.deepEqual(commit.links, [{ traceId: polled, spanId: deliver.spanId }]);

    const streamed = only(spans, "deliver orders", published);
    assert.equal(streamed.parentSpanId, SPAN, "a stream has no request: the messages' own trace");
    assert.deepEqual(streamed.links, [{ traceId: published, spanId: SPAN }]);
    const streamCommit = only(spans, "commit streamers");
    assert.deepEqual(
      [streamCommit.traceId, streamCommit.parentSpanId, streamCommit.links],
      [published, streamed.spanId, [{ traceId: published, spanId: streamed.spanId }]],
    );
    assert.deepEqual([...new Set(collector.requests)], ["/v1/traces"], "spans alone");
    assert.doesNotMatch(broker.log(), /WRN|ERR/);
  }));

Deno.test("messages' own traces are linked, a refusal is an error, and who does not sample is not traced", () =>
  withDataDir(async (dataDir) => {
    await using collector = startCollector();
    const environment = {
      ...environmentOf(collector),
      OTEL_TRACES_SAMPLER: "parentbased_always_on",
    };
    const broker = await startBrokerProcess({ dataDir, environment });
    const { url } = broker;
    await ask(`${url}/api/topics`, { name: "orders", partitions: 1 });
    const [first, second] = [idOf("d"), idOf("e")];
    const messages = [first, second, first].map((traceId) => ({
      value: "x",
      headers: { traceparent: parentOf(traceId) },
    }));
    await ask(`${url}/api/messages:publish`, { topic: "orders", messages });
    await ask(`${url}/api/messages:publish`, { topic: "orders", messages: [{}] }, idOf("f"), "00");
    await assert.rejects(
      ask(`${url}/api/messages:publish`, { topic: "nowhere", messages: [{}] }, idOf("1")),
    );
    await broker.stop("SIGTERM");
    const { spans } = collector;
    const store = only(spans, "store orders");
    assert.deepEqual(store.links, [first, second].map((traceId) => ({ traceId, spanId: SPAN })));
    assert.equal(byId(spans, store).name, "publish orders");
    const refused = only(spans, "publish", idOf("1"));
    assert.deepEqual([refused.isError, refused.attributes["error.type"]], [true, "UNKNOWN_TOPIC"]);
    assert.deepEqual(spans.filter(({ traceId }) => traceId === idOf("f")), []);
  }));

Deno.test("without OTEL_DENO nothing is exported", () =>
  withDataDir(async (dataDir) => {
    await using collector = startCollector();
    const { OTEL_DENO: _, ...environment } = environmentOf(collector);
    const broker = await startBrokerProcess({ dataDir, environment });
    await ask(`${broker.url}/api/topics`, { name: "orders", partitions: 1 });
    const body = { topic: "orders", messages: [{ value: "x" }] };
    await ask(`${broker.url}/api/messages:publish`, body, idOf("a"));
    await broker.stop("SIGTERM");
    assert.deepEqual(collector.requests, []);
  }));
