// Owns requests that carry an Idempotency-Key: who carries one out, what a repeat is told, going on where one broke off.
// Refuses to own their bodies and answers (the edge) and how records are found again (request_log.ts).
// Invariant: the intent is durable before the first append, the response before it is told; between them every batch bears
// the intent's mark, so that what was appended is found in the log itself.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Crc32c, Randomness } from "../../storage/ports.ts";
import type { AppendReceipt, Topic, TopicPartition } from "../broker.ts";
import type { KeyPlace } from "../message_keys/key_table.ts";
import type { KeysTerm } from "../partition/types.ts";
import { unknownTopic } from "../topic/unknown_topic.ts";
import { markBatches, newMark } from "./marked_batches.ts";
import type { RequestLog } from "./request_log.ts";
import { nameAnew, nameOf, responseKey } from "./request_names.ts";
import type { RequestPartition } from "./request_partition.ts";
import { appendMissing } from "./resumed_append.ts";
import type {
  BeginRequest,
  NamedRequest,
  RequestBegun,
  RequestCompleted,
  RequestIntent,
  RequestKnown,
  RunningRequest,
} from "./types.ts";

/** Requests under way at a time; more are refused with OVERLOADED. */
const MAX_RUNNING = 20_000;
/** An attempt of which nothing was heard for so long, and that appends nothing now, may be taken over. */
const ABANDONED_MS = 60_000;

/** Of this broker as home of requests; null for a broker alone. */
export type RequestHome = Omit<KeysTerm, "topicId"> | null;

export interface RequestKeysOptions {
  readonly crc32c: Crc32c;
  readonly randomness: Randomness;
  monotonic(): number;
  topic(name: string): Topic | null;
  /** Epoch in which this broker is the home of requests; throws a refusal where it is none. Left out: it is alone. */
  homeEpoch?(): number;
  /** Rejects with UNKNOWN_TOPIC, UNKNOWN_PARTITION, LEADER_NOT_AVAILABLE. */
  partition(at: TopicPartition, home: RequestHome): Promise<RequestPartition>;
  /** The log of requests, made when there is none yet. */
  log(): Promise<RequestLog>;
  count(what: "replayed" | "reused" | "inUse" | "resumed"): void;
}

interface Attempt {
  readonly token: string;
  readonly bodyHash: string;
  intent: RequestIntent | null;
  place: KeyPlace | null;
  /** An earlier attempt may have appended something. */
  isResumed: boolean;
  appends: number;
  touchedAtMs: number;
}

export class RequestKeys {
  readonly #attempts = new Map<string, Attempt>();
  /** In which the attempts are under way. */
  #homeEpoch = 0;
  #rounds = 0;

  constructor(private readonly options: RequestKeysOptions) {}

  get running(): number {
    return this.#attempts.size;
  }

  /** See RequestKeysPort. */
  async lookup(request: NamedRequest): Promise<RequestKnown> {
    if (this.options.homeEpoch !== undefined) await this.#enter();
    const name = nameOf(request);
    this.#refuseRivals(name, request.bodyHash);
    const log = await this.options.log();
    const { place } = await this.#locate(log, name, null);
    if (place === null) return { state: "unknown" };
    const recalled = await this.#recall(log, place, request);
    if ("response" in recalled) return recalled;
    return { state: "known", partitionCount: recalled.intent.partitionCount };
  }

  /** See RequestKeysPort. */
  async begin(request: BeginRequest): Promise<RequestBegun> {
    if (this.options.homeEpoch !== undefined) await this.#enter();
    const name = nameOf(request);
    const attempt = this.#claim(name, request.bodyHash);
    try {
      const begun = await this.#begin(name, attempt, request);
      if (begun.state === "completed") this.#end(name, attempt);
      return begun;
    } catch (error) {
      this.#end(name, attempt);
      throw error;
    }
  }

  /** See RequestKeysPort. */
  async append(
    request: RunningRequest,
    at: TopicPartition,
    batches: readonly Uint8Array[],
  ): Promise<AppendReceipt> {
    if (this.options.homeEpoch !== undefined) await this.#enter();
    const attempt = this.#attemptOf(request);
    const intent = attempt.intent!;
    attempt.appends++;
    try {
      const partition = await this.options.partition(at, this.#home(attempt.isResumed));
      const topic = this.options.topic(at.topic);
      if (topic?.topicId !== intent.topicId) throw unknownTopic(at.topic);
      markBatches(batches, intent.mark, this.options.crc32c);
      if (!attempt.isResumed) return await partition.append(batches, { acks: "all" });
      const fromOffset = intent.fromOffsets[String(at.partition)] ?? 0;
      const { durability } = topic.config;
      return await appendMissing({ partition, durability }, intent.mark, { fromOffset, batches });
    } finally {
      attempt.appends--;
      attempt.touchedAtMs = this.options.monotonic();
    }
  }

  /** See RequestKeysPort. */
  async complete(request: RunningRequest, response: unknown): Promise<void> {
    if (this.options.homeEpoch !== undefined) await this.#enter();
    const attempt = this.#attemptOf(request);
    const log = await this.options.log();
    await log.put(responseKey(nameOf(request), attempt.place!), response);
    this.#end(nameOf(request), attempt);
  }

  /** See RequestKeysPort. */
  release(request: RunningRequest): Promise<void> {
    const name = nameOf(request);
    const attempt = this.#attempts.get(name);
    if (attempt?.token === request.token) this.#attempts.delete(name);
    return Promise.resolve();
  }

  /** Another broker is the home: whatever was under way here is its to carry on. */
  leave(): void {
    this.#attempts.clear();
  }

  /** Throws where this broker is not the home. Attempts that began while it was before are another's now. */
  async #enter(): Promise<void> {
    await this.options.log();
    const epoch = this.options.homeEpoch!();
    if (epoch !== this.#homeEpoch) this.#attempts.clear();
    this.#homeEpoch = epoch;
  }

  /** `anew`: what was sent until now comes too late. */
  #home(anew: boolean): RequestHome {
    if (this.options.homeEpoch === undefined) return null;
    if (anew) this.#rounds++;
    return { leaderEpoch: this.#homeEpoch, round: this.#rounds };
  }

  /** Makes the request the caller's, before anything is awaited. */
  #claim(name: string, bodyHash: string): Attempt {
    const { randomness, monotonic } = this.options;
    this.#refuseRivals(name, bodyHash);
    if (this.#attempts.size >= MAX_RUNNING) {
      throw new BrokerError("OVERLOADED", `${MAX_RUNNING} requests with a key are under way`);
    }
    const attempt: Attempt = {
      token: randomness.uuid(),
      bodyHash,
      intent: null,
      place: null,
      isResumed: false,
      appends: 0,
      touchedAtMs: monotonic(),
    };
    this.#attempts.set(name, attempt);
    return attempt;
  }

  #refuseRivals(name: string, bodyHash: string): void {
    const other = this.#attempts.get(name);
    if (other === undefined || this.#isAbandoned(other)) return;
    throw other.bodyHash === bodyHash ? this.#inUse() : this.#reused();
  }

  async #begin(name: string, attempt: Attempt, request: BeginRequest): Promise<RequestBegun> {
    const log = await this.options.log();
    const topic = this.options.topic(request.topic);
    if (topic === null) throw unknownTopic(request.topic);
    const known = await this.#locate(log, name, topic);
    const place = known.place ??
      (await this.#declare(log, known.logName, { attempt, request, topic }));
    if (attempt.intent === null) {
      const recalled = await this.#recall(log, place, request);
      if ("response" in recalled) return recalled;
      const { intent } = recalled;
      if (intent.partitionCount !== request.partitionCount) throw this.#inUse();
      attempt.intent = intent;
      attempt.isResumed = true;
      this.options.count("resumed");
    }
    attempt.place = place;
    const { token, isResumed } = attempt;
    return { state: "running", token, isResumed };
  }

  /**
   * Where the intent is that counts, and the name it has in the log or is to have there. One of a topic that is gone counts
   * no more, but its name is taken: those of topics made anew bear their ids. `topic`: null when it is not known yet.
   */
  async #locate(
    log: RequestLog,
    name: string,
    topic: Topic | null,
  ): Promise<{ logName: string; place: KeyPlace | null }> {
    // First, since it may outlive the one that has the plain name.
    const own = topic === null ? null : await log.find(nameAnew(name, topic));
    if (own !== null) return { logName: nameAnew(name, topic!), place: own };
    const place = await log.find(name);
    if (place === null) return { logName: name, place };
    const intent = (await log.read(place)) as RequestIntent | null;
    if (intent === null) throw this.#lost();
    const now = intent.topic === undefined ? undefined : this.options.topic(intent.topic);
    if (now === undefined || now?.topicId === intent.topicId) return { logName: name, place };
    if (topic !== null) return { logName: nameAnew(name, topic), place: null };
    if (now === null) return { logName: name, place: null };
    return { logName: nameAnew(name, now), place: await log.find(nameAnew(name, now)) };
  }

  /** What the log tells of a request whose intent is at `place`. */
  async #recall(
    log: RequestLog,
    place: KeyPlace,
    request: NamedRequest,
  ): Promise<RequestCompleted | { readonly intent: RequestIntent }> {
    const intent = (await log.read(place)) as RequestIntent | null;
    if (intent === null) throw this.#lost();
    if (intent.bodyHash !== request.bodyHash) throw this.#reused();
    const answered = await log.find(responseKey(nameOf(request), place));
    if (answered === null) return { intent };
    const response = await log.read(answered);
    if (response === null) throw this.#lost();
    this.options.count("replayed");
    return { state: "completed", response };
  }

  /** Makes durable what is about to be done. Another attempt cannot come between: the name is claimed. */
  async #declare(
    log: RequestLog,
    logName: string,
    { attempt, request, topic }: { attempt: Attempt; request: BeginRequest; topic: Topic },
  ): Promise<KeyPlace> {
    const { partition, randomness } = this.options;
    const fromOffsets = await Promise.all(request.partitions.map(async (number) => {
      const at = { topic: topic.name, partition: number };
      const { endOffset } = await (await partition(at, this.#home(false))).readable();
      return [String(number), endOffset] as const;
    }));
    const intent: RequestIntent = {
      version: 1,
      bodyHash: request.bodyHash,
      topic: topic.name,
      topicId: topic.topicId,
      partitionCount: request.partitionCount,
      mark: newMark(randomness),
      fromOffsets: Object.fromEntries(fromOffsets),
    };
    const { place, isNew } = await log.put(logName, intent);
    if (isNew) attempt.intent = intent;
    return place;
  }

  #attemptOf(request: RunningRequest): Attempt {
    const attempt = this.#attempts.get(nameOf(request));
    if (attempt?.token !== request.token || attempt.intent === null) {
      throw new BrokerError(
        "IDEMPOTENCY_KEY_IN_USE",
        "the request was given to another attempt with its Idempotency-Key",
      );
    }
    attempt.touchedAtMs = this.options.monotonic();
    return attempt;
  }

  #isAbandoned({ appends, touchedAtMs }: Attempt): boolean {
    return appends === 0 && this.options.monotonic() - touchedAtMs > ABANDONED_MS;
  }

  #end(name: string, attempt: Attempt): void {
    if (this.#attempts.get(name) === attempt) this.#attempts.delete(name);
  }

  #inUse(): BrokerError {
    this.options.count("inUse");
    return new BrokerError(
      "IDEMPOTENCY_KEY_IN_USE",
      "a request with this Idempotency-Key is still under way",
    );
  }

  #reused(): BrokerError {
    this.options.count("reused");
    return new BrokerError(
      "IDEMPOTENCY_KEY_REUSED",
      "this Idempotency-Key was used with another request",
    );
  }

  #lost(): BrokerError {
    return new BrokerError(
      "STORAGE_FAILED",
      "what is known of this Idempotency-Key cannot be read",
    );
  }
}
