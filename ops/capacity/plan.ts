// Owns how many brokers, partitions and consumers a demand takes, and what each broker needs of its machine.
// Refuses to own the figures (figures.ts) and showing the plan (report.ts). Pure.
// Invariant: everything follows from the demand and the figures; what was not measured is named in `cautions`.
import { type Encoding, factorAt, type Figures } from "./figures.ts";

export interface Demand {
  /** Messages published a second. */
  readonly rate: number;
  /** Key and value of one. */
  readonly bytes: number;
  readonly retentionHours: number;
  /** Copies of each message, 1: no other. */
  readonly replicas: number;
  /** Groups that read everything. */
  readonly groups: number;
  readonly publish: Encoding;
  readonly consume: "json" | "batch";
  /** Messages a second that one consumer can process. */
  readonly memberRate: number;
  /** Clients that publish: connections. */
  readonly publishers: number;
  /** Of what a broker, a disk and a network can do, 0 to 1. */
  readonly utilisation: number;
  /** Of a disk, 0 to 1. */
  readonly diskFill: number;
  readonly networkMegabytesPerSecond: number;
}

export type Bound = "event loop" | "disk" | "network";

export interface Plan {
  readonly demand: Demand;
  readonly source: string;
  /** Stored bytes of one message, on one broker. */
  readonly storedBytes: number;
  /** Brokers that each alone would ask for, before rounding up. */
  readonly brokersBy: Readonly<Record<Bound, number>>;
  readonly bound: Bound;
  readonly brokers: number;
  readonly partitions: number;
  /** Of each group. */
  readonly members: number;
  readonly perBroker: {
    readonly messagesPerSecond: number;
    readonly eventLoopShare: number;
    readonly diskMegabytesPerSecond: number;
    readonly networkInMegabytesPerSecond: number;
    readonly networkOutMegabytesPerSecond: number;
    readonly partitionReplicas: number;
    readonly connections: number;
    /** Of the process, at most, and of the system for pages of the last minute. */
    readonly memoryBytes: number;
    readonly pageCacheBytes: number;
    /** With room beside what is kept. */
    readonly diskBytes: number;
    readonly fileDescriptors: number;
  };
  readonly keptBytes: number;
  readonly cautions: readonly string[];
}

const MB = 1_000_000;
/** Messages of a batch, where they come together. */
const BATCH_MESSAGES = 100;
/** Of a machine's memory beyond the process, so that readers who are a minute behind read from memory. */
const CACHED_SECONDS = 60;
/** Room for twice the members: partitions that are added later take keys elsewhere. */
const PARTITIONS_PER_MEMBER = 2;
/** Descriptors for files beside connections, which may have half of them. */
const DOOR_SHARE = 0.5;

/** What `demand` takes. */
export function planFor(demand: Demand, figures: Figures): Plan {
  const { rate, replicas, groups, utilisation } = demand;
  const work = workOf(demand, figures);
  const stored = storedBytesOf(demand, figures);
  const wire = wireOf(demand, figures, stored);
  const diskMegabytes = rate * stored * replicas / MB;
  const network = Math.max(wire.in, wire.out) * rate / MB;
  const brokersBy = {
    "event loop": rate * work / utilisation,
    disk: diskMegabytes / (figures.diskMegabytesPerSecond * utilisation),
    network: network / (demand.networkMegabytesPerSecond * utilisation),
  };
  const bound = (Object.keys(brokersBy) as Bound[])
    .reduce((most, one) => brokersBy[one] > brokersBy[most] ? one : most);
  const brokers = Math.max(1, replicas, Math.ceil(brokersBy[bound]));
  const members = Math.max(1, Math.ceil(rate / demand.memberRate));
  const partitions = upTo(Math.max(members * PARTITIONS_PER_MEMBER, brokers), brokers);
  const keptBytes = rate * stored * demand.retentionHours * 3_600 * replicas;
  const sizes = { brokers, partitions, members };
  return {
    demand,
    source: figures.source,
    storedBytes: stored,
    brokersBy,
    bound,
    ...sizes,
    perBroker: {
      messagesPerSecond: rate / brokers,
      eventLoopShare: rate * work / brokers,
      diskMegabytesPerSecond: diskMegabytes / brokers,
      networkInMegabytesPerSecond: wire.in * rate / MB / brokers,
      networkOutMegabytesPerSecond: wire.out * rate / MB / brokers,
      ...machineOf(demand, figures, { ...sizes, stored }),
      diskBytes: keptBytes / brokers / demand.diskFill,
    },
    keptBytes,
    cautions: cautionsOf(demand, figures, { ...sizes, groups }),
  };
}

/** Seconds of event loops that one message takes, over all brokers. */
function workOf({ bytes, publish, consume, groups, replicas }: Demand, figures: Figures): number {
  const { publishPerSecond, consumePerSecond, publishFactors, consumeFactors } = figures;
  const encoded = publish === "batch" ? "batch" : "json";
  const published = publish === "json-single"
    // A request costs far more than its bytes: what is beyond 1 KiB is that of a JSON message among others.
    ? 1 / publishPerSecond["json-single"] +
      Math.max(0, factorAt(publishFactors.json, bytes) - 1) / publishPerSecond.json
    : factorAt(publishFactors[encoded], bytes) / publishPerSecond[publish];
  const consumed = factorAt(consumeFactors[consume], bytes) / consumePerSecond[consume];
  const batchIn = factorAt(publishFactors.batch, bytes) / publishPerSecond.batch;
  const batchOut = factorAt(consumeFactors.batch, bytes) / consumePerSecond.batch;
  return published + groups * consumed + (replicas - 1) * (batchIn + batchOut);
}

function storedBytesOf({ bytes, publish }: Demand, { storedOverheadBytes }: Figures): number {
  const { message, batch } = storedOverheadBytes;
  return bytes + message + batch / (publish === "json-single" ? 1 : BATCH_MESSAGES);
}

/** Bytes of one message into and out of all brokers together. */
function wireOf(
  { bytes, publish, consume, groups, replicas }: Demand,
  { wireOverheadBytes }: Figures,
  stored: number,
): { readonly in: number; readonly out: number } {
  const copies = (replicas - 1) * stored;
  return {
    in: bytes + wireOverheadBytes.publish[publish] + copies,
    out: groups * (bytes + wireOverheadBytes.consume[consume]) + copies,
  };
}

interface Sizes {
  readonly brokers: number;
  readonly partitions: number;
  readonly members: number;
}

function machineOf(
  { rate, groups, replicas, publishers }: Demand,
  { memory, descriptors }: Figures,
  { brokers, partitions, members, stored }: Sizes & { readonly stored: number },
) {
  const partitionReplicas = Math.ceil(partitions * replicas / brokers);
  const consumers = members * groups;
  // Any client may have a connection to any broker.
  const connections = consumers + publishers;
  const bounds = Object.values(memory.bounds).reduce((sum, bytes) => sum + bytes, 0);
  const files = descriptors.idle + partitionReplicas * descriptors.partition;
  return {
    partitionReplicas,
    connections,
    memoryBytes: memory.idleBytes + bounds + partitionReplicas * memory.partitionBytes +
      consumers * memory.consumerBytes,
    pageCacheBytes: rate / brokers * replicas * stored * CACHED_SECONDS,
    fileDescriptors: Math.ceil(Math.max(connections / DOOR_SHARE, connections + files)),
  };
}

function cautionsOf(
  { bytes, replicas, publish, memberRate }: Demand,
  { publishFactors, measuredPartitions }: Figures,
  { brokers, partitions, members, groups }: Sizes & { readonly groups: number },
): string[] {
  const cautions: string[] = [];
  const add = (applies: boolean, text: string) => {
    if (applies) cautions.push(text);
  };
  add(
    brokers > 1,
    `brokers do not share topics yet: ${brokers} brokers today are ${brokers} separate ones, each with topics of its ` +
      "own; that they do as much side by side is extrapolated from one",
  );
  add(
    replicas > 1,
    "brokers do not replicate yet: what a copy costs is taken to be one read and one append of a record batch",
  );
  const [smallest, largest] = [publishFactors.json[0]![0], publishFactors.json.at(-1)![0]];
  add(
    bytes < smallest || bytes > largest,
    `sizes from ${smallest} to ${largest} bytes were measured: ${bytes} is extrapolated`,
  );
  const replicasOfOne = Math.ceil(partitions * replicas / brokers);
  add(
    replicasOfOne > measuredPartitions,
    `${replicasOfOne} partitions on one broker: ${measuredPartitions} were measured`,
  );
  add(
    publish === "json-single" && brokers > 1,
    "one message a request is the most expensive way to publish: send several together, or use the client",
  );
  add(
    groups > 0,
    `${members} members a group follow from ${memberRate} messages/s each: measure your consumer`,
  );
  return cautions;
}

/** The least multiple of `step` that is no less than `count`. */
function upTo(count: number, step: number): number {
  return Math.ceil(count / step) * step;
}
