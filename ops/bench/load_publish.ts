// Owns publishing over plain HTTP as fast as the broker answers, or at a fixed rate.
// Refuses to own what a client library would add. Invariant: bodies are made once, so the load costs little.
import { encode } from "@msgpack/msgpack";
import { HttpConnection, requestBytes } from "./http_connection.ts";
import type { HttpPublishSpec, LoadResult } from "./load_spec.ts";
import { Samples } from "./quantiles.ts";

const MAX_SAMPLES = 2_000_000;
/** Ready requests; each connection takes the next partition's. */
const MAX_READY_REQUESTS = 1_000;
/** Latencies count from here on: before, this process itself is being compiled, which stalls it for tens of ms. */
const WARM_UP_MS = 1_000;

export async function runHttpPublish(spec: HttpPublishSpec): Promise<LoadResult> {
  const requests = readyRequests(spec);
  const connections = await Promise.all(
    Array.from({ length: spec.connections }, () => HttpConnection.open(spec.url)),
  );
  const samples = new Samples(MAX_SAMPLES);
  const counts = { sent: 0, done: 0, refused: 0 };
  const started = performance.now();
  const warmFrom = started + WARM_UP_MS;
  const ends = started + WARM_UP_MS + spec.seconds * 1_000;
  const next = (): number | null => {
    const number = counts.sent;
    const due = spec.rate === null ? performance.now() : started + number * 1_000 / spec.rate;
    if (due >= ends || (spec.endsOnTime && performance.now() >= ends)) return null;
    counts.sent++;
    return due;
  };
  await Promise.all(connections.map(async (connection, index) => {
    for (let turn = index;; turn += connections.length) {
      const due = next();
      if (due === null) break;
      const early = due - performance.now();
      if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
      const status = await connection.send(requests[turn % requests.length]!);
      if (status !== 200) counts.refused++;
      if ((spec.endsOnTime ? performance.now() : due) < warmFrom) continue;
      samples.add(performance.now() - due);
      if (status === 200) counts.done++;
    }
  }));
  const ms = performance.now() - warmFrom;
  for (const connection of connections) connection.close();
  return {
    messages: counts.done * spec.perRequest,
    bytes: counts.done * spec.perRequest * spec.messageBytes,
    ms,
    latency: samples.latency(),
    refused: counts.refused,
  };
}

function readyRequests(spec: HttpPublishSpec): Uint8Array[] {
  const count = Math.min(spec.partitions, MAX_READY_REQUESTS);
  return Array.from({ length: count }, (_, partition) => {
    const value = "x".repeat(spec.messageBytes);
    const messages = Array.from({ length: spec.perRequest }, (_, n) => ({ key: `k${n}`, value }));
    const data = { topic: spec.topic, partition, messages };
    return requestBytes({
      method: "POST",
      path: "/api/messages:publish",
      token: spec.token,
      contentType: spec.format === "json" ? "application/json" : "application/msgpack",
      body: spec.format === "json" ? new TextEncoder().encode(JSON.stringify(data)) : encode(data),
    });
  });
}
