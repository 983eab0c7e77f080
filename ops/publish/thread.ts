// Owns the thread on which large publish requests are parsed, checked and encoded.
// Refuses to own how that is done (api/publish_preparation.ts), and appending.
// Invariant: every request is answered once, and what it knows of topics is no older than the request.
/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
import { crc32c } from "@node-rs/crc32";
import type { Topic } from "../../actors/broker.ts";
import { yieldToEventLoop } from "../../api/event_loop.ts";
import type { ApiLimits } from "../../api/limits.ts";
import { type PreparedPublish, publishPreparer } from "../../api/publish_preparation.ts";
import { allCodecs } from "../../storage/format/all_codecs.ts";
import { installCodecs } from "../../storage/format/compression.ts";
import { systemClock, systemRandomness } from "../system_ports.ts";
import { errorAsData, type FromThread, type ToThread } from "./messages.ts";

/** Topics remembered; the least lately asked for is forgotten. */
const MAX_TOPICS = 1_000;

let prepare: ReturnType<typeof publishPreparer> | null = null;
let topicsVersion = -1;
const topics = new Map<string, Topic>();
const asked = new Map<string, PromiseWithResolvers<Topic | null>>();

self.onmessage = ({ data }: MessageEvent<ToThread>) => {
  if (data.type === "start") start(data.limits as ApiLimits);
  else if (data.type === "topic") learn(data.name, data.topic);
  else void run(data);
};

function start(limits: ApiLimits): void {
  installCodecs(allCodecs);
  prepare = publishPreparer({
    limits,
    clock: systemClock,
    randomness: systemRandomness,
    crc32c,
    yieldToEventLoop,
    topic: (name) => topics.get(name) ?? ask(name),
  });
  say({ type: "ready" });
}

async function run({ id, raw, topicsVersion: version }: Extract<ToThread, { type: "prepare" }>) {
  if (version !== topicsVersion) {
    topics.clear();
    topicsVersion = version;
  }
  try {
    const prepared = await prepare!(raw);
    self.postMessage({ type: "prepared", id, prepared } satisfies FromThread, buffersOf(prepared));
  } catch (error) {
    say({ type: "refused", id, error: errorAsData(error) });
  }
}

function ask(name: string): Promise<Topic | null> {
  let waiting = asked.get(name);
  if (waiting === undefined) {
    waiting = Promise.withResolvers();
    asked.set(name, waiting);
    say({ type: "ask", name });
  }
  return waiting.promise;
}

function learn(name: string, topic: Topic | null): void {
  if (topic !== null) topics.set(name, topic);
  if (topics.size > MAX_TOPICS) topics.delete(topics.keys().next().value!);
  asked.get(name)?.resolve(topic);
  asked.delete(name);
}

function buffersOf({ shares }: PreparedPublish): ArrayBuffer[] {
  return shares.flatMap(({ batches }) => batches.map((batch) => batch.buffer as ArrayBuffer));
}

function say(message: FromThread): void {
  self.postMessage(message);
}
