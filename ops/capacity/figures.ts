// Owns what one broker was measured to do, which capacity is planned from.
// Refuses to own measuring (ops/bench) and planning (plan.ts).
// Invariant: every figure was measured, and says where.

/** How messages are published and read. */
export type Encoding = "json-single" | "json" | "batch";

/** Work of a message of some bytes, as a multiple of that of one of 1,024 bytes; bytes ascending. */
export type SizeFactors = readonly (readonly [bytes: number, factor: number])[];

export interface Figures {
  /** Messages a second of 1,024 bytes that one broker took, with its event loop at its limit. */
  readonly publishPerSecond: Readonly<Record<Encoding, number>>;
  /** And that it handed to one group. */
  readonly consumePerSecond: Readonly<Record<"json" | "batch", number>>;
  readonly publishFactors: Readonly<Record<"json" | "batch", SizeFactors>>;
  readonly consumeFactors: Readonly<Record<"json" | "batch", SizeFactors>>;
  /** Appends of 1 MiB with a sync, 10^6 bytes a second. */
  readonly diskMegabytesPerSecond: number;
  readonly storedOverheadBytes: { readonly message: number; readonly batch: number };
  /** Beyond key and value, on the network. */
  readonly wireOverheadBytes: {
    readonly publish: Readonly<Record<Encoding, number>>;
    readonly consume: Readonly<Record<"json" | "batch", number>>;
  };
  /** Resident. */
  readonly memory: {
    readonly idleBytes: number;
    readonly partitionBytes: number;
    readonly consumerBytes: number;
    /** What the broker's bounds let it hold besides, by default. */
    readonly bounds: Readonly<Record<string, number>>;
  };
  readonly descriptors: { readonly idle: number; readonly partition: number };
  /** Partitions of one broker that publishes were measured over. */
  readonly measuredPartitions: number;
  readonly source: string;
}

const MIB = 1_048_576;

/**
 * Rates and the slower of two disks: README.md, "Figures", on a shared virtual machine with two cores. Work by size: CPU
 * time of the broker a message at 100, 1,024 and 10,240 bytes, in one short run on that machine beside other work. Bytes:
 * messages of 1,010 bytes, alone and a hundred together, as stored and as sent. Memory and descriptors: a broker before and
 * after it had 900 more partitions, and with 1,000 idle consumers (README.md); idle, with all files of old segments open.
 */
export const MEASURED: Figures = Object.freeze<Figures>({
  publishPerSecond: { "json-single": 13_900, json: 208_600, batch: 222_600 },
  consumePerSecond: { json: 150_200, batch: 486_400 },
  publishFactors: {
    json: [[100, 0.61], [1_024, 1], [10_240, 6.9]],
    batch: [[100, 0.51], [1_024, 1], [10_240, 14.5]],
  },
  consumeFactors: {
    json: [[100, 0.41], [1_024, 1], [10_240, 7.2]],
    batch: [[100, 0.32], [1_024, 1], [10_240, 10.4]],
  },
  diskMegabytesPerSecond: 156,
  storedOverheadBytes: { message: 10, batch: 61 },
  wireOverheadBytes: {
    publish: { "json-single": 204, json: 26, batch: 10 },
    consume: { json: 101, batch: 10 },
  },
  memory: {
    idleBytes: 122_000_000,
    partitionBytes: 36_000,
    consumerBytes: 95_000,
    bounds: {
      maxPendingPublishBytes: 128 * MIB,
      tailCacheBytes: 64 * MIB,
      maxReceivedBytes: 256 * MIB,
      maxAnswerBytes: 256 * MIB,
    },
  },
  descriptors: { idle: 173, partition: 1 },
  measuredPartitions: 1_000,
  source: "README.md, Figures: a shared virtual machine with two cores",
});

interface BenchResult {
  readonly machine: { readonly cores: number; readonly os: string };
  readonly limits: { readonly diskMegabytesPerSecond: number };
  readonly figures: readonly { readonly name: string; readonly messagesPerSecond?: number }[];
}

/** Names of `deno task bench`. */
const PUBLISHED: Readonly<Record<Encoding, string>> = {
  "json-single": "publish JSON, 1 a request",
  json: "publish JSON, 100 a request",
  batch: "publish SDK, 4 partitions, idempotent",
};
const CONSUMED = {
  json: "consume over WebSocket, json",
  batch: "consume over WebSocket, batch",
} as const;

/** `MEASURED` with the rates and the disk of a run of `deno task bench --json`. Throws an Error that says what is missing. */
export function figuresOf(bench: BenchResult): Figures {
  const rateOf = (name: string): number => {
    const rate = bench.figures?.find((figure) => figure.name === name)?.messagesPerSecond;
    if (rate === undefined || !(rate > 0)) throw new Error(`the run has no figure "${name}"`);
    return rate;
  };
  const diskMegabytesPerSecond = bench.limits?.diskMegabytesPerSecond;
  if (!(diskMegabytesPerSecond > 0)) throw new Error("the run has no figure of the disk");
  const { cores, os } = bench.machine;
  return {
    ...MEASURED,
    publishPerSecond: {
      "json-single": rateOf(PUBLISHED["json-single"]),
      json: rateOf(PUBLISHED.json),
      batch: rateOf(PUBLISHED.batch),
    },
    consumePerSecond: { json: rateOf(CONSUMED.json), batch: rateOf(CONSUMED.batch) },
    diskMegabytesPerSecond,
    source: `a run of deno task bench on ${cores} cores, ${os}`,
  };
}

/** Work of a message of `bytes`: straight lines between what was measured, the last one going on, the first value below. */
export function factorAt(factors: SizeFactors, bytes: number): number {
  const [first] = factors;
  if (first === undefined || bytes <= first[0]) return first?.[1] ?? 1;
  let at = 1;
  while (at < factors.length - 1 && factors[at]![0] < bytes) at++;
  const [[fromBytes, from], [toBytes, to]] = [factors[at - 1]!, factors[at]!];
  return from + (to - from) * (bytes - fromBytes) / (toBytes - fromBytes);
}
