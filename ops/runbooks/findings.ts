// Owns the runbooks that name the cause and propose what to do: more consumers, more partitions, another quota.
// Refuses to own doing it: that costs money or moves keys, and is somebody's to decide.
// Invariant: what is proposed follows from figures that the execution shows.
import type { Runbook } from "../../actors/runbook/types.ts";
import { decodeBatch } from "../../storage/format/decode.ts";
import { batchSpans } from "../../storage/format/record_batch.ts";
import { done, MINUTE_MS, runbook, type RunbookPorts, type Step } from "./definition.ts";
import { describeGroup, lagFallsStep, lagOf, noted } from "./group_steps.ts";
import { partitionOf } from "./partition_actor_down.ts";

/** Of the newest messages of a hot partition, and of one key that is shown. */
const MAX_LOOK_BYTES = 1_048_576;
const MAX_LOOK_OFFSETS = 2_000;
const MAX_DECOMPRESSED_BYTES = 16 * 1_048_576;
const MAX_KEY_CHARS = 100;
const decoder = new TextDecoder();

export function lagGrowing(ports: RunbookPorts): Runbook {
  const look: Step = {
    name: "recommend",
    title: "Find out how many consumers would help",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      async run({ target: { name: group } }) {
        const description = await describeGroup(ports, group);
        const topics = new Set(description.offsets.map(({ topic }) => topic));
        let partitions = 0;
        for (const topic of topics) partitions += ports.broker.topic(topic)?.partitionCount ?? 0;
        const members = description.members.length;
        const lag = await lagOf(ports, group);
        if (lag === 0) return { outcome: "nothing", detail: `group ${group} is not behind` };
        const recommended = Math.min(partitions, Math.max(1, members * 2));
        const advice = members < partitions
          ? `${recommended} members instead of ${members}, for ${partitions} partitions`
          : `more partitions than ${partitions}, or faster consumers: more members have nothing to read`;
        return done(`${lag} messages behind; recommended: ${advice}`, {
          facts: { ...noted(description), lagAtResume: lag, partitions, recommended, advice },
        });
      },
    },
  };
  return runbook(
    {
      name: "lag-growing",
      title: "Lag growing",
      describes:
        "A group falls behind: says how many consumers would help, and sees whether it catches up.",
      targetKinds: ["group"],
    },
    [look, lagFallsStep(ports)],
  );
}

export function hotPartition({ broker }: RunbookPorts): Runbook {
  const look: Step = {
    name: "recommend",
    title: "Name the key, and propose partitions",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      async run({ target }) {
        const at = partitionOf(target);
        const { logStartOffset, highWatermark } = await broker.partitionInfo(at);
        const from = Math.max(logStartOffset, highWatermark - MAX_LOOK_OFFSETS);
        if (from >= highWatermark) return { outcome: "nothing", detail: `${target.name} is empty` };
        const { batches } = await broker.fetch(at, from, { maxBytes: MAX_LOOK_BYTES });
        const bytesByKey = keyBytes(batches);
        const all = [...bytesByKey.values()].reduce((sum, bytes) => sum + bytes, 0);
        const [hottest] = [...bytesByKey].sort((a, b) => b[1] - a[1]);
        const share = hottest === undefined || all === 0 ? 0 : hottest[1] / all;
        const { partitionCount = 1 } = broker.topic(at.topic) ?? {};
        const key = hottest?.[0] ?? "";
        const advice = share > 0.5
          ? `key ${key} has ${
            Math.round(share * 100)
          }% of the bytes: more partitions do not part it, split the key`
          : `${
            partitionCount * 2
          } partitions instead of ${partitionCount}; the largest key, ${key}, has ` +
            `${Math.round(share * 100)}%`;
        return { outcome: "manual", detail: advice, facts: { key, share, partitionCount } };
      },
    },
  };
  return runbook(
    {
      name: "hot-partition",
      title: "Hot partition",
      describes:
        "One partition gets most of the bytes: names the key that they are of, and proposes partitions.",
      targetKinds: ["partition"],
    },
    [look],
  );
}

/** Bytes of keys and values by key. */
function keyBytes(batches: Uint8Array): Map<string, number> {
  const bytesByKey = new Map<string, number>();
  for (const { at } of batchSpans(batches)) {
    for (
      const { key, value } of decodeBatch(batches, at, {
        maxDecompressedBytes: MAX_DECOMPRESSED_BYTES,
      })
    ) {
      const name = key === null ? "(none)" : decoder.decode(key).slice(0, MAX_KEY_CHARS);
      const bytes = (key?.length ?? 0) + (value?.length ?? 0);
      bytesByKey.set(name, (bytesByKey.get(name) ?? 0) + bytes);
    }
  }
  return bytesByKey;
}

export function tenantOverQuota({ broker }: RunbookPorts): Runbook {
  const look: Step = {
    name: "recommend",
    title: "See which limits hold for the tenant",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      run({ target: { name: tenant } }) {
        const limits = broker.quotas.limitsOf(tenant);
        const set = Object.entries(limits).filter(([, limit]) => limit !== null);
        if (set.length === 0) return Promise.resolve(nothing(`tenant ${tenant} has no limits`));
        const words = set.map(([name, limit]) => `${name} ${limit}`).join(", ");
        const whose = broker.quotas.find(tenant) === null ? "the default quota" : "its own quota";
        return Promise.resolve({
          outcome: "manual" as const,
          detail:
            `tenant ${tenant} is held to ${whose}: ${words}; talk to it, or set another quota`,
          facts: { limits },
        });
      },
    },
  };
  return runbook(
    {
      name: "tenant-over-quota",
      title: "Tenant over quota",
      describes:
        "A tenant is refused for its quota again and again: says which limits hold for it.",
      targetKinds: ["tenant"],
    },
    [look],
  );
}

function nothing(detail: string) {
  return { outcome: "nothing" as const, detail };
}
