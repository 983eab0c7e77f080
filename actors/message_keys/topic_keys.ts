// Owns the keys of one topic while it is written to: who may append a key, who waits, who is told that it is there already.
// Refuses to own how keys are kept (key_table.ts), snapshots' times and topics as such (message_keys.ts).
// Invariant: of all appends with one key at most one is under way, and the next begins only when it is known what became of it.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { AppendReceipt } from "../broker.ts";
import { type Claim, firstKeys, KeyClaims, type WantedKey, wantedKeys } from "./key_claims.ts";
import { hashKey, hashKeyBytes, type KeyHash } from "./key_hash.ts";
import { scanKeys, type ScanRange } from "./key_scan.ts";
import type { KeySnapshot } from "./key_snapshot.ts";
import type { KeyPlace } from "./key_table.ts";
import type { KeyedPartitions } from "./keyed_partitions.ts";
import { NOBODY, SharedKeyTable } from "./shared_key_table.ts";
import { type BatchKeys, duplicateMessages, type KnownMessage } from "./types.ts";

/** Times an append waits for others that came first with one of its keys. */
const MAX_WAITS = 1_000;
/** Keys taken over from a snapshot before others get their turn. */
const SLICE_KEYS = 50_000;
/** Codes after which an append has surely left nothing. */
const KEPT_NOTHING: ReadonlySet<string> = new Set([
  "DISK_FULL",
  "OVERLOADED",
  "QUOTA_EXCEEDED",
  "SHUTTING_DOWN",
  "LEADER_NOT_AVAILABLE",
  "NOT_LEADER",
  "NOT_ENOUGH_REPLICAS",
  "PEER_UNAVAILABLE",
  "STALE_EPOCH",
  "OUT_OF_ORDER_SEQUENCE",
  "PRODUCER_FENCED",
  "INVALID_REQUEST",
  "MESSAGE_TOO_LARGE",
]);

const decoder = new TextDecoder();

export interface TopicKeysOptions {
  readonly name: string;
  readonly windowMs: number;
  readonly maxKeys: number;
  /** Messages bear the time at which the broker appended them, not one that their producers chose. */
  readonly hasTrueTimes: boolean;
  /** To whom a key belongs, by any name: beyond `maxKeys` those go that one with most has. Left out: all to nobody. */
  readonly ownerOf?: ((key: string) => string) | undefined;
  /** Wall time, ms, that does not jump. */
  now(): number;
  readonly partitions: KeyedPartitions;
  /**
   * Makes it durable that the topic has keys, when partitions end at `ends`; resolves to where the first may be, by
   * partition: 0 where nothing is said.
   */
  declare(ends: readonly number[]): Promise<readonly number[]>;
  loadSnapshot(): Promise<KeySnapshot | null>;
  yieldTurn(): Promise<void>;
  /** Hears of everything that is counted. */
  count(what: "duplicates" | "expired" | "evicted" | "recovered" | "added", by: number): void;
}

/** What an append with keys hands over to the partition. */
export interface KeyedAppend {
  readonly partition: number;
  readonly batches: readonly Uint8Array[];
  readonly keys: BatchKeys;
}

/** What is known in one term: see `KeyedPartitions`. */
interface Loading {
  readonly term: string;
  done: Promise<void>;
  isDone: boolean;
}

export class TopicKeys {
  #table: SharedKeyTable;
  readonly #claims = new KeyClaims();
  #loading: Loading | null = null;

  constructor(private readonly options: TopicKeysOptions) {
    this.#table = new SharedKeyTable(options);
  }

  get size(): number {
    return this.#table.size;
  }

  get pending(): number {
    return this.#claims.size;
  }

  /**
   * Appends batches whose records have these keys, and waits until they are durable. Rejects with DUPLICATE_MESSAGES, and
   * appends nothing, when some are known; waits for appends under way that have one of the keys.
   */
  append(append: KeyedAppend): Promise<AppendReceipt> {
    return this.#append(append, wantedKeys(append.keys), { refusesKnown: true });
  }

  /** Appends copies whatever keys are known; those of theirs that are not count from now on, the first of each. */
  appendCopies(append: KeyedAppend): Promise<AppendReceipt> {
    return this.#append(append, firstKeys(append.keys), { refusesKnown: false });
  }

  async #append(
    append: KeyedAppend,
    wanted: readonly WantedKey[],
    { refusesKnown }: { readonly refusesKnown: boolean },
  ): Promise<AppendReceipt> {
    for (let waits = 0; waits < MAX_WAITS; waits++) {
      await this.ready();
      // Another term may have begun since it was so.
      if (!this.isReady) continue;
      const rivals = this.#claims.rivalsOf(wanted);
      if (rivals.length === 0) {
        if (refusesKnown) this.#refuseKnown(wanted);
        return await this.#appendClaimed(append, wanted);
      }
      await Promise.all(rivals.map((rival) => this.#outcomeOf(rival)));
    }
    throw new BrokerError(
      "OVERLOADED",
      `others keep publishing the same keys to ${this.options.name}`,
    );
  }

  /** Where the message with this key is, null when there is none; waits for an append of it that is under way. */
  async find(key: string): Promise<KeyPlace | null> {
    for (let waits = 0; waits < MAX_WAITS; waits++) {
      await this.ready();
      const claim = this.#claims.of(key);
      if (claim !== undefined) await this.#outcomeOf(claim);
      if (!this.isReady) continue;
      this.#expire();
      return this.#table.find(hashKey(key), this.#ownerOf(key));
    }
    throw new BrokerError("LEADER_NOT_AVAILABLE", `${this.options.name} keeps changing its leader`);
  }

  /** Whether this broker is the home of the keys, as far as it knows. */
  get isHome(): boolean {
    return this.#term() !== null;
  }

  /** What is known is whole, of this term or of one that is over. */
  get isLoaded(): boolean {
    return this.#loading?.isDone === true;
  }

  /** It is, and knows them. */
  get isReady(): boolean {
    return this.#loading?.isDone === true && this.#loading.term === this.#term();
  }

  /**
   * Resolves when every key that the log holds is known; rejects when some partition cannot be read now, and where the keys
   * are another broker's.
   */
  ready(): Promise<void> {
    let term: string;
    try {
      term = this.options.partitions.term();
    } catch (error) {
      return Promise.reject(error);
    }
    if (this.#loading?.term === term) return this.#loading.done;
    this.drop();
    const loading: Loading = { term, done: Promise.resolve(), isDone: false };
    this.#loading = loading;
    return loading.done = this.#load(loading).catch((error) => {
      if (this.#loading === loading) this.#loading = null;
      throw error;
    });
  }

  /** Forgets everything: another broker is the home now, or this one begins anew. */
  drop(): void {
    this.#loading = null;
    this.#claims.clear();
    this.#table = new SharedKeyTable(this.options);
  }

  /** Forgets what is too old, and looks again for what has become of appends that failed. */
  async tend(): Promise<void> {
    this.#expire();
    for (const claim of this.#claims.all()) if (claim.doubtful) await this.#outcomeOf(claim);
  }

  /** Forgets the oldest `count`, to make room for other topics. */
  evict(count: number): void {
    const evicted = this.#table.evict(count);
    this.options.count("evicted", evicted);
  }

  /** Everything that is known to be in the log, and from where on something may not be. Throws while a partition is offline. */
  snapshot(): KeySnapshot {
    const nextOffsets = this.nextOffsets();
    return { nextOffsets, keys: this.#table.columns() };
  }

  /** Below these, by partition, every key is known. */
  nextOffsets(): number[] {
    const { partitions } = this.options;
    const next = Array.from(
      { length: partitions.count },
      (_, number) => partitions.readable(number).endOffset,
    );
    for (const { partition, fromOffset } of this.#claims.all()) {
      next[partition] = Math.min(next[partition]!, fromOffset);
    }
    return next;
  }

  #refuseKnown(wanted: readonly WantedKey[]): void {
    this.#expire();
    const known: KnownMessage[] = [];
    for (const { key, hash, batch, record } of wanted) {
      const place = this.#table.find(hash, this.#ownerOf(key));
      if (place !== null) known.push({ batch, record, ...place });
    }
    if (known.length === 0) return;
    this.options.count("duplicates", known.length);
    throw duplicateMessages(this.options.name, known);
  }

  async #appendClaimed(append: KeyedAppend, wanted: readonly WantedKey[]): Promise<AppendReceipt> {
    const { batches, partition } = append;
    const { partitions } = this.options;
    const settled = Promise.withResolvers<void>();
    const claim: Claim = {
      partition,
      // Throws where the partition is offline: what was never submitted leaves no doubt.
      fromOffset: partitions.readable(partition).endOffset,
      keys: wanted.map(({ key }) => key),
      settled: settled.promise,
      doubtful: false,
      looking: null,
    };
    this.#claims.add(claim);
    try {
      const receipt = await partitions.append(partition, batches);
      for (const { key, hash, batch, record } of wanted) {
        const place = { partition, offset: receipt.baseOffsets[batch]! + record };
        this.#add(hash, place, { atMs: this.options.now(), owner: this.#ownerOf(key) });
      }
      this.#claims.release(claim);
      return receipt;
    } catch (error) {
      if (KEPT_NOTHING.has(asBrokerError(error).code)) this.#claims.release(claim);
      else claim.doubtful = true;
      throw error;
    } finally {
      settled.resolve();
    }
  }

  /** Resolves when others may look at the claim's keys again; rejects while nobody can know what became of them. */
  async #outcomeOf(claim: Claim): Promise<void> {
    if (!claim.doubtful) return await claim.settled;
    await (claim.looking ??= this.#look(claim).finally(() => claim.looking = null));
  }

  async #look(claim: Claim): Promise<void> {
    await this.options.partitions.settle(claim.partition);
    await this.#scan(claim);
    this.#claims.release(claim);
  }

  /** Null where this broker is not the home. */
  #term(): string | null {
    try {
      return this.options.partitions.term();
    } catch {
      return null;
    }
  }

  #ownerOf(key: string): number {
    const { ownerOf } = this.options;
    // Those whose hashes begin alike share what one may have.
    return ownerOf === undefined ? NOBODY : Math.max(NOBODY + 1, hashKey(ownerOf(key))[0]!);
  }

  #add(hash: KeyHash, place: KeyPlace, of: { atMs: number; owner: number }): void {
    const sizeBefore = this.#table.size;
    const evicted = this.#table.add(hash, place, of);
    if (evicted > 0) this.options.count("evicted", evicted);
    const added = this.#table.size - sizeBefore + evicted;
    if (added > 0) this.options.count("added", added);
  }

  #expire(): void {
    const expired = this.#table.expire(this.options.now());
    if (expired > 0) this.options.count("expired", expired);
  }

  async #load(loading: Loading): Promise<void> {
    const { partitions, declare, loadSnapshot } = this.options;
    await partitions.begin();
    const ends = this.nextOffsets();
    const snapshot = await loadSnapshot();
    const since = await declare(ends);
    this.#checkStill(loading);
    if (snapshot !== null) await this.#takeOver(snapshot, { ends, loading });
    for (let partition = 0; partition < partitions.count; partition++) {
      const fromOffset = Math.min(
        snapshot?.nextOffsets[partition] ?? since[partition] ?? 0,
        ends[partition] ?? 0,
      );
      await this.#scan({ partition, fromOffset });
      this.#checkStill(loading);
    }
    loading.isDone = true;
  }

  #checkStill(loading: Loading): void {
    if (this.#loading === loading) return;
    const message = `the keys of ${this.options.name} are at another broker now`;
    throw new BrokerError("LEADER_NOT_AVAILABLE", message);
  }

  /** A log that does not promise to keep what it acknowledged may end before keys that the snapshot has. */
  async #takeOver(
    { keys }: KeySnapshot,
    { ends, loading }: { readonly ends: readonly number[]; readonly loading: Loading },
  ): Promise<void> {
    const now = this.options.now();
    for (let at = 0; at < keys.partitions.length; at++) {
      const partition = keys.partitions[at]!;
      const offset = keys.offsets[at]!;
      if (offset >= (ends[partition] ?? 0)) continue;
      const hash = keys.hashes.subarray(at * 4, at * 4 + 4);
      const atMs = Math.min(keys.timesMs[at]!, now);
      this.#table.add(hash, { partition, offset }, { atMs, owner: keys.owners?.[at] ?? NOBODY });
      if ((at + 1) % SLICE_KEYS !== 0) continue;
      await this.options.yieldTurn();
      this.#checkStill(loading);
    }
    this.#expire();
  }

  /** Where the log does not tell when a message was appended (its timestamp is its producer's word) it counts from now. */
  async #scan({ partition, fromOffset }: Pick<Claim, "partition" | "fromOffset">): Promise<void> {
    const { name: topic, partitions } = this.options;
    const sizeBefore = this.#table.size;
    const { hasTrueTimes, windowMs, now, ownerOf } = this.options;
    const readable = partitions.readable(partition);
    const fetch: ScanRange["fetch"] = (offset, options) =>
      partitions.fetch(partition, offset, options);
    await scanKeys({ topic, fetch, readable, fromOffset }, ({ key, offset, timestamp }) => {
      const atMs = hasTrueTimes ? Math.min(timestamp, now()) : now();
      if (atMs + windowMs <= now()) return;
      const owner = ownerOf === undefined ? NOBODY : this.#ownerOf(decoder.decode(key));
      this.#add(hashKeyBytes(key), { partition, offset }, { atMs, owner });
    });
    this.options.count("recovered", Math.max(0, this.#table.size - sizeBefore));
  }
}
