// Owns finding out which messages that dead letters came from can still be read: a group can only be given those again.
// Refuses to own what becomes of the others (plan.ts).
// Invariant: asked for what is about to be planned only; the log may start later by the time it is sent.
import type { DecodedRecord } from "../../storage/format/decode.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { JobSpec } from "./events.ts";
import { letterOf } from "./letter.ts";
import type { JobBroker } from "./ports.ts";

/** Where the log starts, by `<topic>/<partition>`. */
export type LogStarts = ReadonlyMap<string, number>;

const NOT_NEEDED: LogStarts = new Map();

/** Log starts of the partitions that the letters `records` came from; nothing where they are sent anew. */
export async function logStartsFor(
  broker: Pick<JobBroker, "partitionInfo">,
  { kind, target }: JobSpec,
  records: readonly DecodedRecord[],
): Promise<LogStarts> {
  if (kind !== "redrive" || target.kind !== "group") return NOT_NEEDED;
  const starts = new Map<string, number>();
  for (const record of records) {
    const { origin } = letterOf(record);
    if (origin === null) continue;
    const { topic, partition } = origin;
    const key = `${topic}/${partition}`;
    if (starts.has(key)) continue;
    starts.set(key, await logStartOf(broker, { topic, partition }));
  }
  return starts;
}

async function logStartOf(
  broker: Pick<JobBroker, "partitionInfo">,
  at: { topic: string; partition: number },
): Promise<number> {
  try {
    return (await broker.partitionInfo(at)).logStartOffset;
  } catch (error) {
    if (error instanceof BrokerError && !error.retryable) return Infinity;
    throw error;
  }
}
