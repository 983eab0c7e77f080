// Owns proof on a real broker process that a trace is told the same after signal 9, out of encrypted logs, and that what
// compaction and retention took away is told no more.
// Refuses to own what each event says (traces_api_test.ts). Invariant: it speaks to the real process over HTTP alone.
import assert from "node:assert/strict";
import { type BrokerProcess, startBrokerProcess, withDataDir } from "./support/broker_process.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT = `00-${TRACE}-00f067aa0ba902b7-01`;
const KEY = "1f".repeat(32);
const WAIT_MS = 40_000;
const SEGMENT_BYTES = 65_536;

// deno-lint-ignore no-explicit-any -- what a test reads out of an answer is checked by its assertions
type Any = any;

async function ask(
  { url }: BrokerProcess,
  method: string,
  path: string,
  { body, headers = {} }: { body?: unknown; headers?: Record<string, string> } = {},
): Promise<Any> {
  const response = await fetch(url + path, {
    method,
    headers: { "content-type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = await response.json();
  assert.ok(response.ok, `${method} ${path}: ${JSON.stringify(answer)}`);
  return answer;
}

const traceOf = (broker: BrokerProcess) => ask(broker, "GET", `/api/traces/${TRACE}`);

function publish(broker: BrokerProcess, topic: string, messages: unknown[], isTraced = true) {
  const headers: Record<string, string> = isTraced ? { traceparent: PARENT } : {};
  return ask(broker, "POST", "/api/messages:publish", { body: { topic, messages }, headers });
}

const shortly = ({ kind, topic, offset, lastOffset, group, attempt }: Any): string =>
  [kind, topic, offset, lastOffset, group, attempt].filter((one) => one !== undefined).join(" ");

async function until(what: string, isDone: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + WAIT_MS;
  while (!await isDone()) {
    assert.ok(performance.now() < end, `waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

Deno.test("a trace is told the same after signal 9, out of encrypted logs, but for what retention and compaction took", () =>
  withDataDir(async (dataDir) => {
    const args = [
      `--encryption-key=${KEY}`,
      "--encrypt-internal-topics",
      "--retention-interval-ms=1000",
    ];
    let before: Any;
    {
      await using broker = await startBrokerProcess({ dataDir, args });
      const topics = [
        { name: "orders", encryption: "aes-256-gcm" },
        { name: "state", cleanupPolicy: "compact", segmentBytes: SEGMENT_BYTES },
        { name: "short", retentionBytes: 1, segmentBytes: SEGMENT_BYTES },
      ];
      for (const body of topics) await ask(broker, "POST", "/api/topics", { body });
      await publish(broker, "orders", [{ value: "a" }, { value: "b" }]);
      const at = { topic: "orders", partition: 0 };
      const offsets = [{ ...at, offset: 2 }];
      const groupId = "billing";
      await ask(broker, "POST", "/api/offsets:commit", { body: { groupId, offsets } });
      const nack = { groupId, ...at, offset: 1, code: "NON_RETRYABLE", reason: "no such customer" };
      await ask(broker, "POST", "/api/messages:nack", { body: nack });
      await until("the dead letter", async () => {
        const { events } = await traceOf(broker);
        return events.some(({ kind }: Any) => kind === "dead-lettered");
      });
      await ask(broker, "GET", "/api/topics/orders/partitions/0/messages?offset=1");
      before = await traceOf(broker);
      await broker.stop("SIGKILL");
    }
    await using broker = await startBrokerProcess({ dataDir, args });
    const after = await traceOf(broker);
    assert.deepEqual(before.events.map(shortly), [
      "published orders 0 1",
      "committed orders 0 1 billing",
      "nacked orders 1 billing 1",
      "dead-lettered orders 1 billing 1",
      "delivered orders 1 1",
    ]);
    assert.deepEqual(after.events, before.events.slice(0, -1), "deliveries alone are forgotten");
    assert.deepEqual([after.isTruncated, after.indexedFrom], [false, null]);

    await publish(broker, "state", [{ key: "k", value: "1" }]);
    await publish(broker, "state", [{ key: "other", value: "2" }]);
    await publish(broker, "short", [{ value: "3" }]);
    const told = async () => (await traceOf(broker)).events.slice(4).map(shortly);
    assert.deepEqual(await told(), [
      "published state 0",
      "published state 1",
      "published short 0",
    ]);
    const padding = "x".repeat(SEGMENT_BYTES / 4);
    const pads = Array.from({ length: 6 }, () => ({ key: "k", value: padding }));
    for (const topic of ["state", "short"]) {
      for (const pad of pads) await publish(broker, topic, [pad], false);
    }
    await until(
      "compaction and retention",
      async () => JSON.stringify(await told()) === JSON.stringify(["published state 1"]),
    );
    assert.equal((await broker.stop("SIGTERM")).code, 0);
    assert.doesNotMatch(broker.log(), /warning|error/i);
  }));
