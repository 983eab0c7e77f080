// Owns brokers that follow each other over the same stores, with logs that fail when told to, and requests published to them.
// Refuses to own what requests are to be answered. Invariant: a broker that is killed writes nothing down.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { createApp } from "../../api/app.ts";
import { DEFAULT_API_LIMITS } from "../../api/limits.ts";
import type { LocalBroker } from "../../actors/local_broker.ts";
import { MemoryLogStore } from "../../storage/memory/memory_log.ts";
import { type AppendFault, FaultyLogStore } from "./faulty_logs.ts";
import { memoryBrokerStores, TOPIC_CONFIG } from "./memory_broker.ts";
import { VirtualClock } from "./virtual_time.ts";

export const HOUR_MS = 3_600_000;

export const PARTITIONS = 3;

/** Logs that fail the append with a number, counted from when it is set. */
class LogsThatFailOnce extends FaultyLogStore {
  #left = 0;
  #fault: AppendFault | null = null;

  constructor(time: VirtualClock) {
    super(new MemoryLogStore(time));
    Object.defineProperty(this, "nextFault", {
      get: () => --this.#left === 0 ? this.#fault : null,
      set: () => undefined,
    });
  }

  failAt(number: number, fault: AppendFault): void {
    this.#left = number;
    this.#fault = fault;
  }
}

// deno-lint-ignore no-explicit-any -- answers of every shape
type Answer = { status: number; replayed: string | null; body: any };

/** One broker after the other over the same stores, each with an application. */
export async function lives() {
  const time = new VirtualClock();
  const logs = new LogsThatFailOnce(time);
  const stores = memoryBrokerStores({ time, logs });
  const appOf = (broker: LocalBroker) =>
    createApp({
      broker,
      clock: time,
      randomness: stores.randomness,
      crc32c,
      limits: DEFAULT_API_LIMITS,
      security: { adminToken: null, allowedOrigins: [] },
      version: "0",
      self: () => ({ host: "127.0.0.1", port: 1, zone: null }),
    });
  let broker = await stores.open();
  await broker.createTopic({ name: "orders", partitions: PARTITIONS, config: TOPIC_CONFIG });
  let app = appOf(broker);
  return {
    time,
    logs,
    stores,
    broker: () => broker,
    async publish(messages: readonly unknown[], key: string, extra = {}): Promise<Answer> {
      const response = await app.request("http://127.0.0.1:8080/api/messages:publish", {
        method: "POST",
        headers: { "content-type": "application/json", "idempotency-key": key },
        body: JSON.stringify({ topic: "orders", messages, ...extra }),
      });
      const replayed = response.headers.get("idempotency-replayed");
      return { status: response.status, replayed, body: await response.json() };
    },
    /** Ends the broker without letting it write anything down, and starts the next. */
    async kill(): Promise<void> {
      const { snapshots } = stores;
      const { save } = snapshots;
      snapshots.save = () => Promise.resolve();
      await broker.close().catch(() => undefined);
      snapshots.save = save;
      broker = await stores.open();
      app = appOf(broker);
    },
    /** Messages stored, over all partitions. */
    async count(): Promise<number> {
      const { partitions } = await broker.describeTopic("orders");
      return partitions.reduce((sum, { logEndOffset }) => sum + logEndOffset, 0);
    },
    /** Checks that every message of an answered request is where the answer says. */
    async check(messages: readonly { value: unknown }[], { body }: Answer): Promise<void> {
      for (const [index, { value }] of messages.entries()) {
        const { partition, offset } = body.results[index];
        const path = `/api/topics/orders/partitions/${partition}/messages?offset=${offset}`;
        const read = await (await app.request(`http://127.0.0.1:8080${path}`)).json();
        assert.deepEqual(read.messages[0].value, value);
      }
    },
  };
}

/** Some with a key, some without, for every partition. */
export const MESSAGES = Array.from({ length: 40 }, (_, value) => ({
  value,
  ...(value % 3 === 0 ? {} : { key: `k${value}` }),
}));
