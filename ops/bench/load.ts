// Owns the load that runs in a process of its own: it is told what to do as JSON and prints one JSON line.
// Refuses to own starting the broker and judging figures (main.ts).
// Invariant: latencies of a fixed rate count from when a request was due, not from when it was sent.
import { runConsume } from "./load_consume.ts";
import { runHostile } from "./load_hostile.ts";
import { runHttpPublish } from "./load_publish.ts";
import { runEndToEnd, runIdle, runSdkPublish } from "./load_sdk.ts";
import type { LoadSpec } from "./load_spec.ts";

const spec: LoadSpec = JSON.parse(Deno.args[0]!);
const result = await run(spec);
console.log(JSON.stringify(result));
Deno.exit(0);

function run(spec: LoadSpec): Promise<unknown> {
  switch (spec.kind) {
    case "http-publish":
      return runHttpPublish(spec);
    case "sdk-publish":
      return runSdkPublish(spec);
    case "consume":
      return runConsume(spec);
    case "end-to-end":
      return runEndToEnd(spec);
    case "idle":
      return runIdle(spec);
    case "hostile":
      return runHostile(spec);
  }
}
