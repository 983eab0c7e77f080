// Owns a broker in memory behind a real HTTP server on loopback, for tests that need sockets.
// Refuses to own virtual time: sockets have their own. Invariant: nothing of it outlives `close`.
import { crc32c } from "@node-rs/crc32";
import { DEFAULT_GROUP_SETTINGS } from "../../actors/group/settings.ts";
import { LocalBroker } from "../../actors/local_broker.ts";
import { createApp } from "../../api/app.ts";
import { DEFAULT_API_LIMITS } from "../../api/limits.ts";
import type { MemberLimits } from "../../api/members/limits.ts";
import { createConsuming } from "../../api/stream/consuming.ts";
import type { StreamLimits } from "../../api/stream/limits.ts";
import { systemClock, systemRandomness, systemTimers } from "../../ops/system_ports.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import { MemoryLogStore } from "../../storage/memory/memory_log.ts";
import { MemoryMetadataStore } from "../../storage/memory/memory_metadata.ts";
import { MemorySnapshotStore } from "../../storage/memory/memory_snapshots.ts";
import { TOPIC_CONFIG } from "./memory_broker.ts";

export interface ServerOptions {
  readonly adminToken?: string;
  readonly stream?: Partial<StreamLimits>;
  readonly members?: Partial<MemberLimits>;
  readonly partitions?: number;
}

/** A server with topic `orders`. */
export async function consumingServer(options: ServerOptions = {}) {
  const ports = { clock: systemClock, timers: systemTimers, randomness: systemRandomness };
  const broker = await LocalBroker.open({
    nodeId: "1",
    maxPendingPublishBytes: 64 * 1_048_576,
    retentionIntervalMs: 3_600_000,
    groupsPartitions: 1,
    group: { ...DEFAULT_GROUP_SETTINGS, initialRebalanceDelayMs: 0, rebalanceDelayMs: 0 },
  }, {
    ...ports,
    metadata: new MemoryMetadataStore(ports),
    logs: new MemoryLogStore(systemClock),
    snapshots: new MemorySnapshotStore(),
    crc32c,
    runtimeLog: { report: () => {} },
    report: () => {},
  });
  await broker.createTopic({
    name: "orders",
    partitions: options.partitions ?? 1,
    config: TOPIC_CONFIG,
  });
  const { stream, members } = options;
  const consuming = createConsuming({
    timers: systemTimers,
    ...(stream === undefined ? {} : { stream }),
    ...(members === undefined ? {} : { members }),
  });
  const faults: unknown[] = [];
  const app = createApp({
    broker,
    clock: systemClock,
    randomness: systemRandomness,
    crc32c,
    limits: DEFAULT_API_LIMITS,
    security: {
      adminToken: options.adminToken ?? null,
      allowedOrigins: ["https://console.example"],
    },
    version: "0.1.0-test",
    self: () => ({ host: "127.0.0.1", port: 0, zone: null }),
    routes: [consuming.routes],
    onError: (error) => faults.push(error),
  });
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, app.fetch);
  const { port } = server.addr;
  return {
    broker,
    app,
    consuming,
    faults,
    port,
    url: `http://127.0.0.1:${port}`,
    streamUrl: (query: string) => `ws://127.0.0.1:${port}/api/groups/billing/stream?${query}`,
    /** One batch of values. */
    publish: async (values: readonly string[], partition = 0) => {
      const records = values.map((value) => ({
        key: null,
        value,
        headers: [],
        timestamp: systemClock.now(),
      }));
      await broker.append({ topic: "orders", partition }, [encodeBatch(records, { crc32c })], {
        acks: "all",
      });
    },
    close: async () => {
      await consuming.drain();
      await server.shutdown();
      await broker.close();
    },
  };
}

export type ConsumingServer = Awaited<ReturnType<typeof consumingServer>>;
