// Owns answering the fetches of followers' brokers: what each acknowledges, and what each is told when there is news.
// Refuses to own what a leader makes of it (../partition/partition_replication.ts).
// Invariant: one session a broker; an entry that was answered is answered again only when the follower has come back
// with where it stands then. What is held back is of followers that are not in sync: those in sync wait for nobody.
import { asBrokerError } from "../../storage/broker_error.ts";
import type { Clock, Timers } from "../../storage/ports.ts";
import type { PeerCaller } from "../cluster/peers.ts";
import type { Replica } from "../partition/replica.ts";
import { CatchUp } from "./catch_up.ts";
import {
  type FetchEntry,
  type ReplicaAnswer,
  type ReplicaAt,
  type ReplicaFetch,
  type ReplicaFetchReply,
  replicaKey,
} from "./protocol.ts";

/** Partitions in one session: more than a cluster has. */
const MAX_ENTRIES = 50_000;

interface Session {
  readonly sessionId: string;
  readonly nodeId: string;
  readonly incarnation: number;
  /** Monotonic, ms. */
  heardAt: number;
  readonly entries: Map<string, FetchEntry>;
  /** May have news. */
  readonly due: Set<string>;
  /** Of a rise of their high watermark alone: told with the next answer. */
  readonly risen: Set<string>;
  /** Another term has begun since they were taken: what they say, as each fetch says it again, is new to it. */
  readonly renewed: Set<string>;
  /** Were due, and wait until more may be sent to a follower that is not in sync. */
  readonly held: Set<string>;
  readonly catchUp: CatchUp;
  wake: (() => void) | null;
}

export interface ReplicaSessionsOptions {
  readonly clock: Pick<Clock, "monotonic">;
  readonly timers: Timers;
  readonly find: (at: ReplicaAt) => Replica | null;
  /** To each broker, of what its replicas that are not in sync lack; null: as fast as it goes. Asked each time. */
  readonly catchUpBytesPerSecond: () => number | null;
}

export class ReplicaSessions {
  /** By node id. */
  readonly #sessions = new Map<string, Session>();

  constructor(private readonly options: ReplicaSessionsOptions) {}

  /** Answers one fetch: as soon as there is news, or when it has waited long enough. */
  async answer(
    fetch: ReplicaFetch,
    caller: PeerCaller,
    signal: AbortSignal,
  ): Promise<ReplicaFetchReply> {
    const session = this.#sessionOf(fetch, caller);
    if (session === null) return { unknownSession: true, answers: [] };
    session.heardAt = this.options.clock.monotonic();
    const refused = this.#take(session, fetch, caller);
    this.#letGo(session);
    let answers = [...refused, ...await this.#collect(session, fetch.maxBytes)];
    if (answers.length === 0) {
      const heldMs = session.held.size === 0 ? Infinity : session.catchUp.delayMs();
      // What has come while it was being collected is due already.
      if (session.due.size === 0) {
        await this.#news(session, Math.min(fetch.maxWaitMs, heldMs), signal);
        this.#letGo(session);
      }
      answers = await this.#collect(session, fetch.maxBytes);
    }
    return { answers: [...answers, ...this.#risen(session, answers)] };
  }

  /** When a node's broker has fetched last, monotonic ms; -Infinity: never. */
  heardAt(nodeId: string): number {
    return this.#sessions.get(nodeId)?.heardAt ?? -Infinity;
  }

  /** The leader's log of a partition has grown. */
  grown(at: ReplicaAt): void {
    const key = replicaKey(at);
    for (const session of this.#sessions.values()) {
      if (!session.entries.has(key)) continue;
      session.due.add(key);
      session.wake?.();
    }
  }

  /** What may be read of a partition has grown. */
  risen(at: ReplicaAt): void {
    const key = replicaKey(at);
    for (const session of this.#sessions.values()) {
      if (session.entries.has(key)) session.risen.add(key);
    }
  }

  /** Another role or epoch, or the same again: it knows nothing of what followers have told before. */
  changed(at: ReplicaAt): void {
    const key = replicaKey(at);
    for (const session of this.#sessions.values()) {
      if (session.entries.has(key)) session.renewed.add(key);
    }
    this.grown(at);
  }

  close(): void {
    for (const session of this.#sessions.values()) session.wake?.();
    this.#sessions.clear();
  }

  /** A broker that has registered anew tells all again: what it said counts for the registration in which it did. */
  #sessionOf(fetch: ReplicaFetch, { nodeId, incarnation }: PeerCaller): Session | null {
    const known = this.#sessions.get(nodeId);
    const isKnown = known?.sessionId === fetch.sessionId && known.incarnation === incarnation;
    if (!fetch.isFirst) return isKnown ? known : null;
    known?.wake?.();
    const session: Session = {
      sessionId: fetch.sessionId,
      nodeId,
      incarnation,
      heardAt: 0,
      entries: new Map(),
      due: new Set(),
      risen: new Set(),
      renewed: new Set(),
      held: new Set(),
      catchUp: new CatchUp(this.options),
      wake: null,
    };
    this.#sessions.set(nodeId, session);
    return session;
  }

  #take(session: Session, fetch: ReplicaFetch, caller: PeerCaller): ReplicaAnswer[] {
    const refused: ReplicaAnswer[] = [];
    for (const at of fetch.forgotten) {
      this.#forget(session, replicaKey(at));
      this.options.find(at)?.replication.forgotten(session.nodeId);
    }
    const changed = new Set(fetch.changed.map(replicaKey));
    const again = [...session.renewed].flatMap((key) =>
      changed.has(key) ? [] : session.entries.get(key) ?? []
    );
    session.renewed.clear();
    for (const entry of [...fetch.changed, ...again]) {
      const key = replicaKey(entry);
      try {
        const replica = this.options.find(entry);
        if (replica === null) throw new Error(`no replica of ${key} is here`);
        if (session.entries.size >= MAX_ENTRIES) {
          throw new Error("too many partitions in a session");
        }
        replica.replication.fetched(entry, caller);
        session.entries.set(key, entry);
        session.due.add(key);
      } catch (error) {
        this.#forget(session, key);
        refused.push(refusal(entry, error));
      }
    }
    return refused;
  }

  async #collect(session: Session, maxBytes: number): Promise<ReplicaAnswer[]> {
    const answers: ReplicaAnswer[] = [];
    let left = maxBytes;
    for (const key of [...session.due]) {
      if (left <= 0) break;
      session.due.delete(key);
      const entry = session.entries.get(key);
      if (entry === undefined) continue;
      try {
        const replica = this.options.find(entry);
        if (replica === null) continue;
        const isBehind = replica.replication.record?.isr.includes(session.nodeId) === false;
        const most = isBehind ? Math.min(left, session.catchUp.available()) : left;
        if (most < 1) {
          session.held.add(key);
          continue;
        }
        const answer = await replica.replication.answer(entry, most);
        if (answer === null) continue;
        const sentBytes = answer.batches?.length ?? 0;
        if (isBehind) session.catchUp.sent(sentBytes);
        left -= sentBytes;
        answers.push(answer);
      } catch (error) {
        this.#forget(session, key);
        answers.push(refusal(entry, error));
      }
    }
    return answers;
  }

  #letGo({ held, due }: Session): void {
    for (const key of held) due.add(key);
    held.clear();
  }

  /** Of those that are not answered anyhow. */
  #risen(session: Session, answered: readonly ReplicaAnswer[]): ReplicaAnswer[] {
    if (session.risen.size === 0) return [];
    const told = new Set(answered.map(replicaKey));
    const answers: ReplicaAnswer[] = [];
    for (const key of session.risen) {
      const entry = session.entries.get(key);
      const state = entry === undefined || told.has(key)
        ? null
        : this.options.find(entry)?.log.state ?? null;
      if (state === null || state.leaderEpoch !== entry!.leaderEpoch) continue;
      const { topicId, partition } = entry!;
      const { leaderEpoch, highWatermark, logStartOffset } = state;
      answers.push({ topicId, partition, leaderEpoch, highWatermark, logStartOffset });
    }
    session.risen.clear();
    return answers;
  }

  async #news(session: Session, maxWaitMs: number, signal: AbortSignal): Promise<void> {
    const woken = Promise.withResolvers<void>();
    const wake = () => woken.resolve();
    session.wake = wake;
    const cancel = this.options.timers.after(maxWaitMs, wake);
    signal.addEventListener("abort", wake, { once: true });
    await woken.promise;
    cancel();
    signal.removeEventListener("abort", wake);
    if (session.wake === wake) session.wake = null;
  }

  #forget(session: Session, key: string): void {
    session.entries.delete(key);
    session.due.delete(key);
    session.risen.delete(key);
    session.renewed.delete(key);
    session.held.delete(key);
  }
}

function refusal(entry: FetchEntry, error: unknown): ReplicaAnswer {
  const { code, message } = asBrokerError(error);
  const { topicId, partition, leaderEpoch } = entry;
  const known = { topicId, partition, leaderEpoch, highWatermark: 0, logStartOffset: 0 };
  return { ...known, refusal: { code, message } };
}
