// Owns reading a topic back in the end, and counting what of the acknowledged is not there.
// Refuses to own what was acknowledged (load.ts) and the rules (ack_checker.ts).
// Invariant: every partition is read from its start to its end, by the public API alone.
import type { WaybillClient } from "../../api/client.ts";
import type { AckChecker, Seen } from "./ack_checker.ts";

const READ_MESSAGES = 10_000;
const READ_BYTES = 4 * 1_048_576;

export interface ReadBack {
  readonly stored: number;
  /** Acknowledged, and not there as acknowledged. */
  readonly lost: number;
  /** The same value at more than one offset. */
  readonly duplicated: number;
  /** What the rules say is wrong, in words. */
  readonly violations: readonly string[];
}

/** Reads `topic` and compares it with what `checker` knows. Rejects where the broker does not answer. */
export async function readBack(
  client: WaybillClient,
  topic: string,
  checker: AckChecker,
): Promise<ReadBack> {
  const { partitions } = await client.topics.describe(topic);
  const violations: string[] = [];
  const counts = new Map<string, number>();
  for (const { partition } of partitions) {
    const seen = await readPartition(client, topic, partition);
    for (const { value } of seen) counts.set(value, (counts.get(value) ?? 0) + 1);
    violations.push(...checker.check(partition, 0, seen));
  }
  let stored = 0;
  for (const count of counts.values()) stored += count;
  return {
    stored,
    lost: violations.filter((violation) => /^I[12]:/.test(violation)).length,
    duplicated: stored - counts.size,
    violations,
  };
}

async function readPartition(
  client: WaybillClient,
  topic: string,
  partition: number,
): Promise<Seen[]> {
  const seen: Seen[] = [];
  let offset: number | "earliest" = "earliest";
  while (true) {
    const answer = await client.read({
      topic,
      partition,
      offset,
      maxMessages: READ_MESSAGES,
      maxBytes: READ_BYTES,
    });
    for (const message of answer.messages) {
      seen.push({ partition, offset: message.offset, value: String(message.value) });
    }
    if (answer.nextOffset >= answer.highWatermark) return seen;
    offset = answer.nextOffset;
  }
}
