// Owns what a cluster drill plays with: the stage, the topic, the load, reads meanwhile, and putting all of it away.
// Refuses to own what any drill does. Invariant: what is published goes on being counted until the reckoning.
import { Acting, type ActingOptions } from "../acting.ts";
import type { Timeline } from "../timeline.ts";
import { ask, Unanswered } from "./broker_http.ts";
import { ClusterLoad } from "./cluster_load.ts";
import { Glances, type ReadTarget } from "./cluster_read_back.ts";
import { ClusterStage, type ClusterStageOptions } from "./cluster_stage.ts";
import { TransactionalLoad } from "./transactional_load.ts";
import type { ClusterRunOptions } from "./types.ts";

const TOPIC = "orders";
const PARTITIONS = 6;
const REPLICAS = 3;
const REPLICATED = { replicationFactor: REPLICAS, minInsyncReplicas: 2 };
const PADDING = `:${"x".repeat(80)}`;
const ASK_TIMEOUT_MS = 3_000;
/** A broker that does not answer within this is passed over. */
const REQUEST_TIMEOUT_MS = 2_000;
const BEFORE_MS = 2_000;

/** A partition, as a broker tells it. */
export interface PartitionSeen {
  readonly partition: number;
  readonly leader: string | null;
  readonly isr: readonly string[];
  readonly leaderEpoch: number;
  readonly highWatermark: number;
}

export interface TopicSeen {
  readonly topicId: string;
  readonly partitions: readonly PartitionSeen[];
}

export interface Opening extends Omit<ClusterStageOptions, "signal"> {
  readonly perSecond?: number;
  readonly requestTimeoutMs?: number;
  readonly acks?: "all" | "leader";
}

export class ClusterScene extends Acting {
  readonly topic = TOPIC;
  readonly partitions = PARTITIONS;
  #stage: ClusterStage | null = null;
  #load: ClusterLoad | null = null;
  #transactions: TransactionalLoad | null = null;
  #glances: Glances | null = null;
  /** Acknowledged messages a second, before anything was broken. */
  rateBefore = 0;

  constructor(readonly options: ActingOptions & ClusterRunOptions, timeline: Timeline) {
    super(timeline, options.signal);
  }

  get stage(): ClusterStage {
    return present(this.#stage);
  }

  get load(): ClusterLoad {
    return present(this.#load);
  }

  get transactions(): TransactionalLoad {
    return present(this.#transactions);
  }

  get glances(): Glances {
    return present(this.#glances);
  }

  get target(): ReadTarget {
    const { adminToken: token } = this.stage;
    return { token, topic: TOPIC, partitions: PARTITIONS, padding: PADDING };
  }

  /** Starts etcd and brokers, makes the topic, and publishes to it from then on; resolves when all of it goes well. */
  async begin(opening: Opening = {}): Promise<void> {
    const { perSecond = this.options.perSecond, acks = this.options.acks } = opening;
    const { requestTimeoutMs = REQUEST_TIMEOUT_MS, ...stageOptions } = opening;
    this.#stage = await ClusterStage.open({ ...stageOptions, signal: this.signal });
    await this.stage.start();
    const { nodeIds, etcdNames } = this.stage;
    this.tell("step", `${etcdNames.length} members of etcd and ${nodeIds.length} brokers run`);
    await this.#createTopic();
    const { urls } = this.stage;
    const options = { ...this.target, urls, acks, perSecond, requestTimeoutMs };
    this.#load = new ClusterLoad(options);
    this.#transactions = new TransactionalLoad(options);
    this.#glances = new Glances(urls, this.target, this.load.checker);
    const parts = [this.load, this.transactions, this.glances];
    this.onClose(async () => void await Promise.all(parts.map((part) => part.stop(0))));
    for (const part of parts) part.start();
    await this.until(() => this.load.silences.allAckedAt(0) !== null, "the first acknowledgements");
    await this.pause(BEFORE_MS);
    this.rateBefore = Math.round(this.load.rate);
    this.tell("step", `${this.rateBefore} messages/s are acknowledged, acks ${acks}`);
  }

  /** The topic, as the first broker that answers tells it. */
  async describe(nodeIds: readonly string[] = this.stage.nodeIds): Promise<TopicSeen> {
    for (const nodeId of nodeIds) {
      if (!this.stage.isRunning(nodeId)) continue;
      const seen = await this.#ask(nodeId, `/api/topics/${TOPIC}`);
      if (seen !== null && seen.status === 200) return seen.body;
    }
    throw new Error(`no broker of ${nodeIds.join(", ")} tells of topic ${TOPIC}`);
  }

  /** Whether a broker makes a topic, or has made it before. */
  async createsTopic(name: string): Promise<boolean> {
    for (const nodeId of this.stage.nodeIds) {
      const more = { method: "POST", body: { ...REPLICATED, name, partitions: PARTITIONS } };
      const made = await this.#ask(nodeId, "/api/topics", more);
      if (made?.status === 201 || made?.body.code === "TOPIC_ALREADY_EXISTS") return true;
    }
    return false;
  }

  /** The broker that leads most partitions of the topic. */
  async mainLeader(): Promise<string> {
    const { partitions } = await this.describe();
    const counts = new Map<string, number>();
    for (const { leader } of partitions) {
      if (leader !== null) counts.set(leader, (counts.get(leader) ?? 0) + 1);
    }
    const [most] = [...counts].sort((a, b) => b[1] - a[1]);
    if (most === undefined) throw new Error("nobody leads a partition");
    return most[0];
  }

  /** Partitions of the topic that the broker leads. */
  async ledBy(nodeId: string): Promise<number[]> {
    const { partitions } = await this.describe();
    return partitions.filter(({ leader }) => leader === nodeId).map(({ partition }) => partition);
  }

  /** The brokers but that one. */
  others(nodeId: string): string[] {
    return this.stage.nodeIds.filter((other) => other !== nodeId);
  }

  /** When every partition has acknowledged something sent after `afterMs`, ms since `sinceMs`; null: not in time. */
  async resumed(
    { sinceMs, of = "the fault", afterMs = performance.now(), limitMs = 30_000 }: {
      sinceMs: number;
      /** What was then, in words. */
      of?: string;
      afterMs?: number;
      limitMs?: number;
    },
  ): Promise<number | null> {
    const { silences } = this.load;
    const isSeen = await this.settled(
      () => silences.allAckedAt(afterMs) !== null,
      "publishing to every partition",
      limitMs,
    );
    if (!isSeen) {
      this.tell("step", `partitions ${silences.silentSince(afterMs).join(", ")} are silent`);
      return null;
    }
    const tookMs = Math.round(silences.allAckedAt(afterMs)! - sinceMs);
    this.tell(
      "recovered",
      `every partition acknowledges: ${(tookMs / 1_000).toFixed(2)} s after ${of}`,
    );
    return tookMs;
  }

  /** Waits until all brokers are online and all replicas in sync; ms since `sinceMs`, null: not in time. */
  async whole(sinceMs: number, limitMs = 60_000): Promise<number | null> {
    const what = "all brokers to be online and all replicas to be in sync";
    if (!await this.settled(() => this.stage.isWhole(), what, limitMs)) return null;
    const tookMs = Math.round(performance.now() - sinceMs);
    this.tell("step", `all are online and in sync, ${(tookMs / 1_000).toFixed(2)} s later`);
    return tookMs;
  }

  async close(): Promise<void> {
    this.end();
    await this.closeAll();
    await this.#stage?.close();
  }

  /** The last lines that a process wrote, each broker's. */
  lastWords(): string[] {
    if (this.#stage === null) return [];
    const stage = this.#stage;
    return stage.nodeIds.map((nodeId) =>
      `${nodeId}: ${stage.log(nodeId).trim().split("\n").slice(-3).join(" / ")}`
    );
  }

  async #createTopic(): Promise<void> {
    await this.until(() => this.createsTopic(TOPIC), `topic ${TOPIC} to be made`);
    await this.until(async () => {
      const { partitions } = await this.describe();
      return partitions.every(({ isr }) => isr.length === REPLICAS);
    }, "every partition to have its replicas in sync");
  }

  async #ask(nodeId: string, path: string, more: { method?: string; body?: unknown } = {}) {
    const { stage } = this;
    const options = { token: stage.adminToken, timeoutMs: ASK_TIMEOUT_MS, ...more };
    try {
      return await ask(`${stage.urlOf(nodeId)}${path}`, options);
    } catch (error) {
      if (error instanceof Unanswered) return null;
      throw error;
    }
  }
}

function present<T>(value: T | null): T {
  if (value === null) throw new Error("the drill has not begun");
  return value;
}
