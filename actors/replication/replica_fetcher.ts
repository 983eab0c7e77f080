// Owns fetching from one leader's broker for all partitions that this broker follows there: one fetch at a time.
// Refuses to own what a follower does with an answer (../partition/follower_log.ts) and connections (the Peers port).
// Invariant: a fetch says only what is synced; after a fetch without answer everything is told anew, in a new session.
import { asBrokerError } from "../../storage/broker_error.ts";
import type { Randomness, Timers } from "../../storage/ports.ts";
import type { Peers } from "../cluster/peers.ts";
import type { Replica } from "../partition/replica.ts";
import {
  type FetchEntry,
  REPLICA_FETCH,
  type ReplicaAnswer,
  type ReplicaFetch,
  type ReplicaFetchReply,
  replicaKey,
} from "./protocol.ts";

/** The longest that a leader without news keeps a fetch: who begins to follow in between waits so long. */
const MAX_WAIT_MS = 200;
/** An answer that takes this much longer is taken for lost. */
const ANSWER_MS = 3_000;
const MAX_BYTES = 4 * 1_048_576;
/** Wait after a fetch without answer, and before a partition that was refused is asked for again. */
const BACKOFF_MS = 100;

export interface ReplicaFetcherOptions {
  /** Of the leaders' broker. */
  readonly nodeId: string;
  readonly peers: Pick<Peers, "call">;
  readonly timers: Timers;
  readonly randomness: Randomness;
  report(event: { level: "info" | "warning"; message: string; error?: unknown }): void;
}

export class ReplicaFetcher {
  readonly #replicas = new Map<string, Replica>();
  /** As the leader's broker knows it in this session. */
  readonly #told = new Map<string, FetchEntry>();
  /** What may have changed since it was told. */
  readonly #touched = new Set<string>();
  #sessionId: string;
  #isFirst = true;
  #running = false;
  #stopped = false;
  #failures = 0;
  readonly #stopping = new AbortController();

  constructor(private readonly options: ReplicaFetcherOptions) {
    this.#sessionId = options.randomness.uuid();
  }

  add(replica: Replica): void {
    const key = replicaKey(replica.key);
    this.#replicas.set(key, replica);
    this.touch(replica);
  }

  remove(replica: Replica): void {
    const key = replicaKey(replica.key);
    if (this.#replicas.get(key) !== replica) return;
    this.#replicas.delete(key);
    this.#touched.add(key);
  }

  /** It may stand elsewhere now. */
  touch(replica: Replica): void {
    this.#touched.add(replicaKey(replica.key));
    if (this.#running || this.#stopped) return;
    this.#running = true;
    void this.#run();
  }

  stop(): void {
    this.#stopped = true;
    this.#stopping.abort();
  }

  async #run(): Promise<void> {
    try {
      while (!this.#stopped && this.#replicas.size > 0) await this.#fetch();
    } finally {
      this.#running = false;
    }
  }

  async #fetch(): Promise<void> {
    const { nodeId, peers } = this.options;
    const args = this.#next();
    let reply: ReplicaFetchReply;
    try {
      reply = await peers.call<ReplicaFetchReply>(
        nodeId,
        { method: REPLICA_FETCH, args, lane: "replica" },
        { timeoutMs: MAX_WAIT_MS + ANSWER_MS, signal: this.#stopping.signal },
      );
    } catch (error) {
      return await this.#lost(error);
    }
    this.#isFirst = false;
    this.#failures = 0;
    if (reply.unknownSession) return this.#anew();
    await Promise.all(reply.answers.map((answer) => this.#apply(answer)));
  }

  #next(): ReplicaFetch {
    const changed: FetchEntry[] = [];
    const forgotten: { topicId: string; partition: number }[] = [];
    for (const key of this.#touched) {
      const entry = this.#replicas.get(key)?.follower.entry() ?? null;
      const told = this.#told.get(key);
      if (entry === null) {
        if (told === undefined) continue;
        this.#told.delete(key);
        forgotten.push({ topicId: told.topicId, partition: told.partition });
      } else if (told === undefined || !isSame(entry, told)) {
        this.#told.set(key, entry);
        changed.push(entry);
      }
    }
    this.#touched.clear();
    return {
      sessionId: this.#sessionId,
      isFirst: this.#isFirst,
      changed,
      forgotten,
      maxWaitMs: MAX_WAIT_MS,
      maxBytes: MAX_BYTES,
    };
  }

  async #apply(answer: ReplicaAnswer): Promise<void> {
    const key = replicaKey(answer);
    const replica = this.#replicas.get(key);
    const asked = this.#told.get(key);
    if (replica === undefined || asked === undefined) return;
    if (answer.refusal !== undefined) return this.#again(key);
    try {
      await replica.follower.apply(asked, answer);
      this.#touched.add(key);
    } catch (error) {
      const message = `${key} did not take over what its leader has`;
      this.options.report({ level: "warning", message, error: asBrokerError(error) });
      this.#again(key);
    }
  }

  /** The leader's broker has let go of the entry, or has answered it in vain. */
  #again(key: string): void {
    this.#told.delete(key);
    this.options.timers.after(BACKOFF_MS, () => {
      const replica = this.#replicas.get(key);
      if (replica !== undefined) this.touch(replica);
    });
  }

  async #lost(error: unknown): Promise<void> {
    if (this.#stopped) return;
    const { nodeId, timers, report } = this.options;
    if (this.#failures++ === 0) {
      report({ level: "info", message: `broker ${nodeId} answers no fetch of replicas`, error });
    }
    this.#anew();
    await new Promise<void>((resolve) => void timers.after(BACKOFF_MS, resolve));
  }

  #anew(): void {
    this.#sessionId = this.options.randomness.uuid();
    this.#isFirst = true;
    this.#told.clear();
    for (const key of this.#replicas.keys()) this.#touched.add(key);
  }
}

function isSame(a: FetchEntry, b: FetchEntry): boolean {
  return a.fetchOffset === b.fetchOffset && a.leaderEpoch === b.leaderEpoch &&
    a.lastEpoch === b.lastEpoch;
}
