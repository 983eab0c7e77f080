// Owns somebody else who publishes while a test does harm, and what is asked of the broker afterwards.
// Refuses to own the harm. Invariant: every publish of the other is answered, within its bound, and memory stays within its.
import assert from "node:assert/strict";
import { pause, publish } from "./api_calls.ts";
import type { BrokerProcess } from "./broker_process.ts";
import { createTopic } from "./numbered_load.ts";
import { residentBytes } from "./process_memory.ts";

const MIB = 1_048_576;
/** Of a publish by others, at any moment: they are served. On a machine with much else to do that may take a while. */
const OTHERS_MS = 10_000;
const OTHERS_TOPIC = "others";

/** Makes the topic that others publish to. */
export async function createTopicOfOthers({ url }: BrokerProcess): Promise<void> {
  await createTopic(url, { name: OTHERS_TOPIC });
}

export async function besideOthers(
  broker: BrokerProcess,
  harm: () => Promise<void>,
  bounds: { readonly everyMs: number; readonly maxResidentBytes: number },
): Promise<void> {
  let isOver = false;
  let slowestMs = 0;
  const others = (async () => {
    while (!isOver) {
      const { status, ms } = await publish(broker.url, OTHERS_TOPIC, ["a"]);
      assert.equal(status, 200);
      slowestMs = Math.max(slowestMs, ms);
      await pause(bounds.everyMs);
    }
  })();
  others.catch(() => undefined);
  await harm();
  isOver = true;
  await others;
  assert.ok(slowestMs < OTHERS_MS, `a publish by others took ${Math.round(slowestMs)} ms`);
  const { peak } = await residentBytes(broker.pid);
  assert.ok(peak < bounds.maxResidentBytes, `${Math.round(peak / MIB)} MiB were resident`);
}
