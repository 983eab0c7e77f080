// Owns what is asked of several brokers at once and put together: groups, a topic's partitions, traces, revivals.
// Refuses to own what each of them answers. Invariant: a broker that does not answer is left out only where the answer may
// be a part, and a partition is told of by its leader alone, where it has one.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type {
  Broker,
  PartitionInfo,
  Revival,
  TopicDescription,
  TopicPartition,
} from "../broker.ts";
import type { GroupSummary } from "../group/types.ts";
import { GROUPS_TOPIC } from "../internal_topics.ts";
import { unknownTopic } from "../topic/unknown_topic.ts";
import type { FoundTrace, TraceEvent, TraceRequest } from "../trace/types.ts";
import { TRANSACTIONS_TOPIC } from "../transaction/coordinator.ts";
import type { AskedBy, UnfinishedTransaction } from "../transaction/types.ts";
import type { Peers } from "./peers.ts";
import type { Router } from "./router.ts";
import type { ClusterView, PartitionRecord } from "./types.ts";

const GATHER_MS = 10_000;
const REVIVE_MS = 120_000;
/** Of a trace; brokers name no more of theirs than they answer for. */
const MAX_KNOWN_MESSAGES = 4_000;

export interface GatherOptions {
  readonly router: Router;
  readonly local: Broker;
  readonly view: ClusterView;
}

interface Asked<R> {
  readonly nodeId: string;
  readonly answer: R | null;
  readonly error: BrokerError | null;
}

export class Gather {
  constructor(private readonly options: GatherOptions) {}

  /** See Broker.groups. */
  async groups(options: { readonly whole: boolean }): Promise<readonly GroupSummary[]> {
    const { nodes, leaderless } = this.#leadersOf(GROUPS_TOPIC);
    const asked = await this.#ask<readonly GroupSummary[]>(nodes, {
      method: "gather.groups",
      args: options,
      here: (local) => local.groups(options),
    });
    if (options.whole) {
      if (leaderless.length > 0) {
        const partitions = leaderless.join(", ");
        throw new BrokerError("ACTOR_DOWN", `groups have no leader: ${GROUPS_TOPIC}/${partitions}`);
      }
      for (const { nodeId, error } of asked) {
        if (error === null) continue;
        const message = `groups of ${nodeId} cannot be told: ${error.message}`;
        throw new BrokerError("ACTOR_DOWN", message, {}, { cause: error });
      }
    }
    // A shard that moves may answer at both.
    const byId = new Map(asked.flatMap(({ answer }) => answer ?? []).map((it) => [it.groupId, it]));
    return [...byId.values()].sort((a, b) => a.groupId < b.groupId ? -1 : 1);
  }

  /** See Transactions.unfinished. */
  async unfinished(options: AskedBy = {}): Promise<readonly UnfinishedTransaction[]> {
    const { nodes } = this.#leadersOf(TRANSACTIONS_TOPIC);
    const asked = await this.#ask<readonly UnfinishedTransaction[]>(nodes, {
      method: "gather.unfinished",
      args: options,
      here: (local) => local.transactions.unfinished(options),
    });
    const byId = new Map(
      asked.flatMap(({ answer }) => answer ?? []).map((it) => [it.transactionId, it]),
    );
    return [...byId.values()].sort((a, b) => a.transactionalId < b.transactionalId ? -1 : 1);
  }

  /** See Broker.describeTopic: partitions without a leader, or whose leader does not answer, are told as offline. */
  async describeTopic(name: string): Promise<TopicDescription> {
    const { local, router } = this.options;
    const topic = local.topic(name);
    if (topic === null) throw unknownTopic(name);
    const { nodes } = this.#leadersOf(name);
    const asked = await this.#ask<TopicDescription>([...new Set([...nodes, router.nodeId])], {
      method: "gather.describeTopic",
      args: name,
      here: (local) => local.describeTopic(name),
    });
    const infos = (nodeId: string) =>
      asked.find((one) => one.nodeId === nodeId && one.answer?.topicId === topic.topicId)?.answer
        ?.partitions ?? [];
    const partitions = Array.from({ length: topic.partitionCount }, (_, partition) => {
      const record = this.#recordOf(topic.topicId, partition);
      const leader = record?.leader ?? null;
      const told = leader === null
        ? undefined
        : infos(leader).find((info) => info.partition === partition);
      if (told !== undefined) return told;
      const known = infos(router.nodeId).find((info) => info.partition === partition);
      const error = asked.find(({ nodeId }) => nodeId === leader)?.error?.message;
      return untold(partition, { record, known, error: error ?? "it has no leader" });
    });
    return { ...topic, partitions };
  }

  /** See Traces.find. Twice: what happened to messages is known elsewhere than where they lie. */
  async trace(request: TraceRequest): Promise<FoundTrace> {
    const first = await this.#traces({ ...request, known: [] });
    const known = first.flatMap(({ messages = [] }) => messages);
    const found = first.length === 1 || known.length === 0
      ? first
      : await this.#traces({ ...request, known: known.slice(0, MAX_KNOWN_MESSAGES) });
    const isWhole = found.length === this.#online().length && known.length <= MAX_KNOWN_MESSAGES &&
      [...request.topics, GROUPS_TOPIC].every((name) =>
        this.#leadersOf(name).leaderless.length === 0
      );
    return {
      events: distinct(found.flatMap(({ events }) => events)),
      isTruncated: !isWhole || found.some(({ isTruncated }) => isTruncated),
      indexedFrom: found.reduce<number | null>(
        (latest, { indexedFrom }) =>
          indexedFrom === null ? latest : Math.max(latest ?? indexedFrom, indexedFrom),
        null,
      ),
      deliveriesFrom: Math.max(...found.map(({ deliveriesFrom }) => deliveriesFrom)),
    };
  }

  /** Of all that answer; rejects when nobody does. */
  async #traces(request: TraceRequest): Promise<FoundTrace[]> {
    const asked = await this.#ask<FoundTrace>(this.#online(), {
      method: "gather.trace",
      args: request,
      here: (local) => local.traces.find(request),
    });
    for (const { error } of asked) if (error?.code === "OVERLOADED") throw error;
    const found = asked.flatMap(({ answer }) => answer === null ? [] : [answer]);
    if (found.length === 0) throw asked[0]!.error!;
    return found;
  }

  /** See Broker.revive: at whoever keeps the partition, or everywhere. */
  async revive(at: TopicPartition | null): Promise<readonly Revival[]> {
    const asked = await this.#ask<readonly Revival[]>(this.#keepersOf(at), {
      method: "gather.revive",
      args: at,
      here: (local) => local.revive(at),
      timeoutMs: REVIVE_MS,
    });
    const [only] = asked;
    if (asked.length === 1 && only!.error !== null) throw only!.error;
    return asked.flatMap(({ nodeId, answer, error }) => {
      if (error === null) return answer!;
      const { code, message, retryable } = error;
      return [{ what: `broker ${nodeId}`, error: { code, message, retryable } }];
    });
  }

  /** Resolves when every partition of the topic has a leader, or when `untilMs` is over. */
  async led(name: string, { timers, forMs }: LedOptions): Promise<void> {
    const { local, view } = this.options;
    const isLed = () => {
      const topic = local.topic(name);
      return topic === null || this.#leadersOf(name).leaderless.length === 0;
    };
    if (isLed()) return;
    await new Promise<void>((resolve) => {
      const end = () => {
        cancel();
        unwatch();
        resolve();
      };
      const cancel = timers.after(forMs, end);
      const unwatch = view.onChanged(() => isLed() && end());
    });
  }

  async #ask<R>(
    nodes: readonly string[],
    { method, args, here, timeoutMs = GATHER_MS }: {
      readonly method: GatherMethod;
      readonly args: unknown;
      readonly here: (local: Broker) => Promise<R>;
      readonly timeoutMs?: number;
    },
  ): Promise<Asked<R>[]> {
    const { router, local } = this.options;
    return await Promise.all(nodes.map(async (nodeId) => {
      try {
        const answer = nodeId === router.nodeId
          ? await here(local)
          : await router.there<R>(nodeId, { method, args }, { timeoutMs });
        return { nodeId, answer, error: null };
      } catch (error) {
        return { nodeId, answer: null, error: asBrokerError(error) };
      }
    }));
  }

  #leadersOf(name: string): { nodes: string[]; leaderless: number[] } {
    const topic = this.options.local.topic(name);
    const nodes = new Set<string>();
    const leaderless: number[] = [];
    for (let partition = 0; partition < (topic?.partitionCount ?? 0); partition++) {
      const leader = this.#recordOf(topic!.topicId, partition)?.leader ?? null;
      if (leader === null) leaderless.push(partition);
      else nodes.add(leader);
    }
    return { nodes: [...nodes], leaderless };
  }

  #recordOf(topicId: string, partition: number): PartitionRecord | null {
    return this.options.view.partition(topicId, partition)?.record ?? null;
  }

  /** This broker first: it answers even when it is not registered just now. */
  #online(): string[] {
    const { router, view } = this.options;
    return [...new Set([router.nodeId, ...view.online().keys()])];
  }

  #keepersOf(at: TopicPartition | null): string[] {
    const { router } = this.options;
    if (at === null) return this.#online();
    const place = router.partitionOf(at);
    const record = place === null ? null : this.#recordOf(place.topicId, place.partition);
    if (record === null) return [router.nodeId];
    if (record.leader !== null) return [record.leader];
    const online = new Set(this.#online());
    const replicas = record.replicas.filter((nodeId) => online.has(nodeId));
    return replicas.length > 0 ? replicas : [router.nodeId];
  }
}

export interface LedOptions {
  readonly timers: { after(delayMs: number, run: () => void): () => void };
  readonly forMs: number;
}

type GatherMethod =
  | "gather.groups"
  | "gather.unfinished"
  | "gather.describeTopic"
  | "gather.trace"
  | "gather.revive";

/** What other brokers gather from this one. */
export function serveGather(peers: Peers, local: Broker): void {
  const handlers: Record<GatherMethod, (args: unknown) => Promise<unknown>> = {
    "gather.groups": (args) => local.groups(args as { whole: boolean }),
    "gather.unfinished": (args) => local.transactions.unfinished(args as AskedBy),
    "gather.describeTopic": (args) => local.describeTopic(args as string),
    "gather.trace": (args) => local.traces.find(args as TraceRequest),
    "gather.revive": (args) => local.revive(args as TopicPartition | null),
  };
  for (const [method, handler] of Object.entries(handlers)) peers.handle(method, handler);
}

/** What can be said of a partition of which its leader says nothing: its record, and what this broker's own replica has. */
function untold(
  partition: number,
  { record, known, error }: {
    readonly record: PartitionRecord | null;
    readonly known: PartitionInfo | undefined;
    readonly error: string;
  },
): PartitionInfo {
  return {
    logStartOffset: 0,
    logEndOffset: 0,
    highWatermark: 0,
    lastStableOffset: 0,
    sizeBytes: 0,
    ...known,
    partition,
    leader: record?.leader ?? null,
    isr: record?.isr ?? [],
    leaderEpoch: record?.leaderEpoch ?? 0,
    state: "offline",
    error,
  };
}

/** Replicas of one log tell the same of it. Oldest first. */
function distinct(events: readonly TraceEvent[]): TraceEvent[] {
  const byWords = new Map(events.map((event) => [JSON.stringify(sorted(event)), event]));
  return [...byWords.values()].sort((a, b) => a.at - b.at);
}

function sorted(event: TraceEvent): unknown {
  return Object.entries(event).sort(([a], [b]) => a < b ? -1 : 1);
}
