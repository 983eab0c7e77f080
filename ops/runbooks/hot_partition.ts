// Owns the runbook for a partition that gets most of its topic's bytes: names the key, proposes what would part them.
// Refuses to own finding hot partitions (the threshold) and adding partitions (grow_step.ts).
// Invariant: what is proposed follows from what lies in the partition; of encrypted topics no key is named.
import type { TopicPartition } from "../../actors/broker.ts";
import type { Sample } from "../../actors/measurement/types.ts";
import type { Runbook, StepContext, StepResult } from "../../actors/runbook/types.ts";
import { decodeBatch } from "../../storage/format/decode.ts";
import { batchSpans } from "../../storage/format/record_batch.ts";
import { again, done, MINUTE_MS, runbook, type RunbookPorts, type Step } from "./definition.ts";
import { growStep, PARTITIONS_PARAMETER, wantedPartitions } from "./grow_step.ts";
import { pause } from "./lag_growing.ts";
import { leaderStep, proposedHandover } from "./leader_step.ts";
import { partitionOf } from "./partition_actor_down.ts";

/** Of the newest messages of a hot partition, and of one key that is shown. */
const MAX_LOOK_BYTES = 1_048_576;
const MAX_LOOK_OFFSETS = 2_000;
const MAX_DECOMPRESSED_BYTES = 16 * 1_048_576;
const MAX_KEY_CHARS = 100;
/** Of the partition's bytes: a key with more of them stays hot wherever it lies. */
const HOT_KEY_SHARE = 0.5;
/** A partition with less of its topic's bytes than this is not hot any more (the threshold's clearLimit). */
const COOL_SHARE = 0.6;
/** Measured for so long, once there are more partitions. */
const MEASURED_SECONDS = 15;
const decoder = new TextDecoder();

export function hotPartition(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "hot-partition",
      title: "Hot partition",
      describes:
        "One partition gets most of the bytes: names the key that they are of, proposes how to part them, and " +
        "adds partitions where somebody asks for that. In a cluster the broker comes to lead it that leads the fewest.",
      targetKinds: ["partition"],
    },
    [
      recommendStep(ports),
      growStep(ports, ({ target }) => partitionOf(target).topic),
      leaderStep(ports),
      coolerStep(ports),
    ],
    {
      onlyLooks: ports.cluster === undefined,
      parameters: [PARTITIONS_PARAMETER],
      check: wantedPartitions,
    },
  );
}

function recommendStep(ports: RunbookPorts): Step {
  const { broker, samples, cluster } = ports;
  return {
    name: "recommend",
    title: "Name the key, and propose what would part it",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      async run(context) {
        const { target } = context;
        const at = partitionOf(target);
        const { logStartOffset, highWatermark } = await broker.partitionInfo(at);
        const from = Math.max(logStartOffset, highWatermark - MAX_LOOK_OFFSETS);
        if (from >= highWatermark) return { outcome: "nothing", detail: `${target.name} is empty` };
        const { batches } = await broker.fetch(at, from, { maxBytes: MAX_LOOK_BYTES });
        const { key, share } = hottestKey(batches);
        const { partitionCount = 1, config } = broker.topic(at.topic) ?? {};
        const isSecret = (config?.encryption ?? "none") !== "none";
        const topicShare = topicShareOf(samples.history(), at) ?? 1;
        const figures = { keyShare: share, topicShare, partitionCount };
        const proposed = proposal(isSecret ? "(encrypted)" : key, figures);
        const moved = await proposedHandover(ports, context);
        const facts = { ...figures, ...(isSecret ? {} : { key }), ...proposed, ...moved };
        const isAlone = cluster === undefined;
        const outcome = isAlone && wantedPartitions(context) === null ? "manual" : "done";
        const lead = moved === null ? "" : `; broker ${moved.moveTo} leads fewer partitions`;
        return { outcome, detail: `${proposed.advice}${lead}`, facts };
      },
    },
  };
}

interface Figures {
  /** Of the newest bytes of the partition. */
  readonly keyShare: number;
  /** Of the newest bytes of the topic, in this partition. */
  readonly topicShare: number;
  readonly partitionCount: number;
}

/** What would part the bytes. */
export function proposal(
  key: string,
  { keyShare, topicShare, partitionCount }: Figures,
): { readonly advice: string; readonly keyParts: number; readonly partitions: number } {
  const ofTopic = keyShare * topicShare;
  const keyParts = Math.max(2, Math.ceil(ofTopic * partitionCount));
  // Beyond that the largest key alone is more than an even share.
  const useful = ofTopic === 0 ? partitionCount * 2 : Math.floor(1 / ofTopic);
  const partitions = Math.max(partitionCount, Math.min(partitionCount * 2, useful));
  const has = `key ${key} has ${percent(keyShare)} of the bytes`;
  if (keyShare > HOT_KEY_SHARE || partitions === partitionCount) {
    return {
      advice: `${has}: more partitions do not part it, split the key into ${keyParts}`,
      keyParts,
      partitions: partitionCount,
    };
  }
  const advice = `${partitions} partitions instead of ${partitionCount}; the largest ${has}`;
  return { advice, keyParts, partitions };
}

function percent(share: number): string {
  return `${Math.round(share * 100)}%`;
}

/** Verified when the partition has no more than its share for a while, or the topic is quiet. */
function coolerStep(ports: RunbookPorts): Step {
  const { samples } = ports;
  return {
    name: "cooler",
    title: "See that the bytes are parted",
    kind: "verify",
    timeoutMs: 10 * MINUTE_MS,
    work: {
      run(context) {
        const { target, stepStartedAt, facts } = context;
        if (wantedPartitions(context) === null) {
          // Who leads it changes nothing of its share: the rest is for somebody to decide.
          return Promise.resolve({ outcome: "manual", detail: String(facts.advice) });
        }
        if (ports.cluster !== undefined) return coolerInCluster(ports, context);
        const since = samples.history().filter(({ at }) => at >= stepStartedAt);
        const measured = since.reduce((sum, { seconds }) => sum + seconds, 0);
        if (measured < MEASURED_SECONDS) {
          return Promise.resolve(again(`measured for ${Math.round(measured)} s yet`));
        }
        const share = topicShareOf(newest(since, MEASURED_SECONDS), partitionOf(target)) ?? 0;
        const told = `${target.name} gets ${percent(share)} of its topic's bytes`;
        return Promise.resolve(share <= COOL_SHARE ? done(told) : again(told));
      },
    },
  };
}

/** A broker measures what it leads alone: in a cluster the leaders are asked how much their logs have grown. */
async function coolerInCluster(
  ports: RunbookPorts,
  { target, signal }: Pick<StepContext, "target" | "signal">,
): Promise<StepResult> {
  const at = partitionOf(target);
  const sizes = async () => (await ports.broker.describeTopic(at.topic)).partitions;
  const before = new Map((await sizes()).map((one) => [one.partition, one.sizeBytes]));
  await pause(ports, MEASURED_SECONDS * 1_000, signal);
  let own = 0;
  let all = 0;
  for (const { partition, sizeBytes } of await sizes()) {
    const grown = Math.max(0, sizeBytes - (before.get(partition) ?? 0));
    all += grown;
    if (partition === at.partition) own += grown;
  }
  const share = all === 0 ? 0 : own / all;
  const told = `${target.name} gets ${percent(share)} of its topic's bytes`;
  return share <= COOL_SHARE ? done(told) : again(told);
}

function newest(samples: readonly Sample[], seconds: number): readonly Sample[] {
  let first = samples.length;
  for (let sum = 0; first > 0 && sum < seconds; sum += samples[first]!.seconds) first--;
  return samples.slice(first);
}

/** Of the bytes of its topic, among the busiest partitions; null where there were none. */
function topicShareOf(samples: readonly Sample[], at: TopicPartition): number | null {
  let own = 0;
  let all = 0;
  for (const { partitions } of samples) {
    for (const { topic, partition, bytes } of partitions) {
      if (topic !== at.topic) continue;
      all += bytes;
      if (partition === at.partition) own += bytes;
    }
  }
  return all === 0 ? null : own / all;
}

/** The key with the most bytes of keys and values. */
function hottestKey(batches: Uint8Array): { readonly key: string; readonly share: number } {
  const bytesByKey = new Map<string, number>();
  let all = 0;
  for (const { at } of batchSpans(batches)) {
    const limits = { maxDecompressedBytes: MAX_DECOMPRESSED_BYTES };
    for (const { key, value } of decodeBatch(batches, at, limits)) {
      const name = key === null ? "(none)" : decoder.decode(key).slice(0, MAX_KEY_CHARS);
      const bytes = (key?.length ?? 0) + (value?.length ?? 0);
      bytesByKey.set(name, (bytesByKey.get(name) ?? 0) + bytes);
      all += bytes;
    }
  }
  const [hottest] = [...bytesByKey].sort((a, b) => b[1] - a[1]);
  return { key: hottest?.[0] ?? "(none)", share: all === 0 ? 0 : hottest![1] / all };
}
