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
import { errorAsData, errorOfData, type FromThread, type ToThread } from "./messages.ts";

let prepare: ReturnType<typeof publishPreparer> | null = null;
/** By request. */
const asked = new Map<number, PromiseWithResolvers<Topic | null>>();

self.onmessage = ({ data }: MessageEvent<ToThread>) => {
  if (data.type === "start") start(data.limits as ApiLimits);
  else if (data.type === "prepare") void run(data);
  else learn(data);
};

function start(limits: ApiLimits): void {
  installCodecs(allCodecs);
  prepare = publishPreparer({
    limits,
    clock: systemClock,
    randomness: systemRandomness,
    crc32c,
    yieldToEventLoop,
  });
  say({ type: "ready" });
}

async function run({ id, raw }: Extract<ToThread, { type: "prepare" }>) {
  try {
    const prepared = await prepare!(raw, (name) => ask(id, name));
    self.postMessage({ type: "prepared", id, prepared } satisfies FromThread, buffersOf(prepared));
  } catch (error) {
    say({ type: "refused", id, error: errorAsData(error) });
  }
}

function ask(id: number, name: string): Promise<Topic | null> {
  const waiting = Promise.withResolvers<Topic | null>();
  asked.set(id, waiting);
  say({ type: "ask", id, name });
  return waiting.promise;
}

function learn(answer: Extract<ToThread, { type: "topic" | "forbidden" }>): void {
  const waiting = asked.get(answer.id)!;
  asked.delete(answer.id);
  if (answer.type === "topic") waiting.resolve(answer.topic);
  else waiting.reject(errorOfData(answer.error));
}

function buffersOf({ shares }: PreparedPublish): ArrayBuffer[] {
  return shares.flatMap(({ batches }) => batches.map((batch) => batch.buffer as ArrayBuffer));
}

function say(message: FromThread): void {
  self.postMessage(message);
}
