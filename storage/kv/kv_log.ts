// Owns one log in Deno KV: its head, changed by compare-and-set only, and what the batches below it are.
// Refuses to own opening (kv_log_store.ts) and the layout of batches (kv_pieces.ts).
// Invariant: whoever opened the log last has its head's version, and nobody else can change anything: two writers cannot both
// append. What lies outside of the head's range does not count, and is deleted when the log is opened.
import { BrokerError } from "../broker_error.ts";
import { crcMatches } from "../format/record_batch.ts";
import type { AppendResult, Log, LogConfig, ReadOptions, RetentionPolicy } from "../log.ts";
import { BatchList, type BatchPlace, concatenate, describeBatches } from "../memory/batch_list.ts";
import type { Clock, Crc32c } from "../ports.ts";
import { commitAtomic } from "./kv_database.ts";
import {
  deletePieces,
  fills,
  groupPieces,
  type Piece,
  piecesOf,
  readBatches,
} from "./kv_pieces.ts";

/** What is stored of a log beside its batches. */
export interface LogHead {
  readonly logStartOffset: number;
  readonly logEndOffset: number;
  /** Who opened it last. */
  readonly openedBy: string;
}

export interface KvLogContext {
  readonly kv: Deno.Kv;
  readonly name: string;
  readonly clock: Clock;
  readonly crc32c: Crc32c;
  /** Bound of the batches that the log holds. */
  readonly maxLogBytes: number;
  onClosed(): void;
}

/** A log in Deno KV; commits are always synced, so `durability` makes no difference. Use `KvLogStore.open`. */
export class KvLog implements Log {
  #appending = false;
  #closed = false;
  /** Set when what is stored is no longer known, or someone else writes: the log must be opened anew. */
  #failure: Error | null = null;
  /** Times that batches were dropped. */
  #cuts = 0;
  /** Pieces of an append that did not happen may lie beyond the end. */
  #strays = false;
  /** Changes of the head, one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly context: KvLogContext,
    private head: Deno.KvEntry<LogHead>,
    private readonly state: { readonly batches: BatchList<BatchPlace>; config: LogConfig },
  ) {}

  get logStartOffset(): number {
    return this.state.batches.startOffset;
  }

  get logEndOffset(): number {
    return this.state.batches.endOffset;
  }

  get flushedOffset(): number {
    return this.state.batches.endOffset;
  }

  get sizeBytes(): number {
    return this.state.batches.sizeBytes;
  }

  async append(batches: readonly Uint8Array[]): Promise<AppendResult> {
    this.#checkUsable();
    if (this.#appending) throw new Error("an append is under way: one at a time");
    this.#appending = true;
    try {
      return await this.#inTurn(() => this.#append(batches));
    } finally {
      this.#appending = false;
    }
  }

  async read(offset: number, options: ReadOptions): Promise<Uint8Array> {
    this.#checkOpen();
    for (;;) {
      const cuts = this.#cuts;
      const places = this.state.batches.select(offset, options);
      const parts = await this.#readPlaces(places);
      if (parts.length === places.length) return concatenate(parts);
      // Retention or a cut may have come in between: then the answer is the one of now.
      if (cuts === this.#cuts) throw corrupt(this.context.name, places[parts.length]!.baseOffset);
    }
  }

  // deno-lint-ignore require-await -- the port is asynchronous, and so are its errors
  async offsetForTimestamp(timestampMs: number): Promise<number | null> {
    this.#checkOpen();
    return this.state.batches.offsetForTimestamp(timestampMs);
  }

  endOffsetForEpoch(leaderEpoch: number): { leaderEpoch: number; endOffset: number } {
    return this.state.batches.endOffsetForEpoch(leaderEpoch);
  }

  async applyRetention(policy: RetentionPolicy): Promise<number> {
    return await this.#inTurn(async () => {
      this.#checkUsable();
      const { batches } = this.state;
      const count = batches.droppable(policy);
      if (count === 0) return batches.startOffset;
      const startOffset = batches.offsetAfter(count);
      await this.#changeHead({ logStartOffset: startOffset });
      batches.dropOldest(count);
      this.#cuts++;
      await this.#deletePieces(0, startOffset).catch(ignoreDiskFull);
      return startOffset;
    });
  }

  async truncateTo(offset: number): Promise<void> {
    await this.#inTurn(async () => {
      this.#checkUsable();
      const { batches } = this.state;
      const endOffset = batches.endAtMost(offset);
      if (endOffset === batches.endOffset) return;
      await this.#changeHead({ logEndOffset: endOffset });
      batches.dropAfter(endOffset);
      this.#cuts++;
      await this.#deletePieces(endOffset, Number.MAX_SAFE_INTEGER).catch(ignoreDiskFull);
    });
  }

  // deno-lint-ignore require-await -- see offsetForTimestamp
  async configure(config: LogConfig): Promise<void> {
    this.#checkOpen();
    this.state.config = config;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#turn.catch(() => undefined);
    this.context.onClosed();
  }

  /** The batches at `places`, up to the first that is not there whole. */
  async #readPlaces(places: readonly BatchPlace[]): Promise<Uint8Array[]> {
    const parts: Uint8Array[] = [];
    if (places.length === 0) return parts;
    const range = { from: places[0]!.baseOffset, to: places.at(-1)!.endOffset };
    for await (
      const { baseOffset, bytes } of readBatches(this.context.kv, this.context.name, range)
    ) {
      const place = places[parts.length];
      if (place?.baseOffset !== baseOffset || !fills(place, bytes)) break;
      if (!crcMatches(bytes, 0, this.context.crc32c)) break;
      parts.push(bytes);
    }
    return parts;
  }

  async #append(chunks: readonly Uint8Array[]): Promise<AppendResult> {
    this.#checkUsable();
    const { batches, config } = this.state;
    const baseOffset = batches.endOffset;
    const entries = describeBatches(chunks, baseOffset);
    if (entries.length === 0) return { baseOffset, logEndOffset: baseOffset };
    this.#checkRoom(entries.reduce((sum, entry) => sum + entry.sizeBytes, 0));
    if (this.#strays) await this.#deletePieces(baseOffset, Number.MAX_SAFE_INTEGER);
    const logEndOffset = entries.at(-1)!.endOffset;
    const { name } = this.context;
    const pieces = entries.flatMap((entry) => piecesOf(name, entry.baseOffset, entry.bytes));
    const groups = groupPieces(pieces);
    for (const group of groups.slice(0, -1)) await this.#writeAhead(group);
    await this.#changeHead({ logEndOffset }, groups.at(-1));
    const now = this.context.clock.monotonic();
    for (const { bytes: _, ...place } of entries) batches.push(place, config, now);
    return { baseOffset, logEndOffset };
  }

  /** Pieces beyond the end of the log: they count once the head has moved. */
  async #writeAhead(pieces: readonly Piece[]): Promise<void> {
    this.#strays = true;
    const operation = this.context.kv.atomic().check(this.head);
    for (const { key, bytes } of pieces) operation.set(key, bytes);
    await this.#commit(operation);
  }

  async #changeHead(change: Partial<LogHead>, pieces: readonly Piece[] = []): Promise<void> {
    const value: LogHead = { ...this.head.value, ...change };
    const operation = this.context.kv.atomic().check(this.head).set(this.head.key, value);
    for (const { key, bytes } of pieces) operation.set(key, bytes);
    const versionstamp = await this.#commit(operation);
    this.head = { key: this.head.key, value, versionstamp };
    if (pieces.length > 0) this.#strays = false;
  }

  async #deletePieces(from: number, to: number): Promise<void> {
    const { kv, name } = this.context;
    if (to === Number.MAX_SAFE_INTEGER) this.#strays = true;
    const deleted = await deletePieces(kv, name, { from, to, check: this.head });
    if (!deleted) throw this.#fail(overtaken(name));
    if (to === Number.MAX_SAFE_INTEGER) this.#strays = false;
  }

  async #commit(operation: Deno.AtomicOperation): Promise<string> {
    const { name } = this.context;
    let result: Deno.KvCommitResult | Deno.KvCommitError;
    try {
      result = await commitAtomic(`write log ${name}`, operation);
    } catch (error) {
      // A full disk leaves everything as it was, so that one may try again; after anything else nothing is known.
      if (error instanceof BrokerError && error.code === "DISK_FULL") throw error;
      throw this.#fail(error);
    }
    if (!result.ok) throw this.#fail(overtaken(name));
    return result.versionstamp;
  }

  #checkRoom(addedBytes: number): void {
    const { name, maxLogBytes } = this.context;
    const sizeBytes = this.sizeBytes + addedBytes;
    if (sizeBytes <= maxLogBytes) return;
    throw new BrokerError(
      "DISK_FULL",
      `log ${name} would hold ${sizeBytes} bytes, and in Deno KV a log holds at most ${maxLogBytes}`,
      { sizeBytes, maxLogBytes },
    );
  }

  async #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(run, run);
    this.#turn = turn.catch(() => undefined);
    return await turn;
  }

  #fail(error: unknown): Error {
    this.#failure = error instanceof Error ? error : new Error(String(error));
    return this.#failure;
  }

  #checkUsable(): void {
    this.#checkOpen();
    if (this.#failure === null) return;
    const cause = this.#failure;
    throw new BrokerError(
      "STORAGE_FAILED",
      `log ${this.context.name} has failed and must be opened again: ${cause.message}`,
      {},
      { cause },
    );
  }

  #checkOpen(): void {
    if (this.#closed) throw new Error(`log ${this.context.name} is closed`);
  }
}

/** Pieces that no longer count are found again by the next append, retention or opening. */
function ignoreDiskFull(error: unknown): void {
  if (!(error instanceof BrokerError && error.code === "DISK_FULL")) throw error;
}

/** The error for a batch that is not there whole. */
export function corrupt(name: string, offset: number): BrokerError {
  const message = `log ${name} is damaged at offset ${offset}: it has no whole batch there`;
  return new BrokerError("CORRUPT_LOG", message, { offset });
}

function overtaken(name: string): BrokerError {
  return new BrokerError(
    "STORAGE_FAILED",
    `log ${name} was opened by another writer: nothing more can be written here`,
  );
}
