// Owns one log that goes on in the archive below where its local log starts: what is read where, and what moves when.
// Refuses to own the local log, the objects' bytes (archived_objects.ts) and the list of them (archive_index.ts).
// Invariant: nothing is dropped here before the archive has it, and no object is removed before the index on the local
// disk says that the log starts behind it. Appends and local reads never wait for the archive.
import type { ArchiveStore } from "../archive.ts";
import { BrokerError } from "../broker_error.ts";
import {
  baseOffsetAt,
  batchSpans,
  lastOffsetDeltaAt,
  maxTimestampAt,
} from "../format/record_batch.ts";
import type {
  AppendResult,
  CompactionPolicy,
  CompactionResult,
  Log,
  LogConfig,
  ReadOptions,
  RetentionPolicy,
} from "../log.ts";
import { corruptLog, logClosed, offsetOutOfRange } from "../file_log/log_faults.ts";
import { Turn } from "../turns.ts";
import { ArchiveIndex, chainTo, type IndexAccess } from "./archive_index.ts";
import type { ArchivedObjects } from "./archived_objects.ts";
import { recordAt } from "../file_log/log_reader.ts";
import { batchesFrom, batchOfTime } from "./object_batches.ts";
import { type ArchiveEntry, entryOfKey, logPrefix, objectKey } from "./object_key.ts";

/** Bytes of one object, unless a single batch has more. */
export const MAX_OBJECT_BYTES = 8 * 1024 * 1024;
/** Objects after which the index is kept: a crash makes so many be put again. */
const MAX_UNKEPT_OBJECTS = 16;

const NOTHING = new Uint8Array(0);

export interface ArchiveAccess extends IndexAccess {
  readonly store: ArchiveStore;
  /** False where there is none, and `store` refuses everything. */
  readonly isConfigured: boolean;
  readonly objects: ArchivedObjects;
  /** See MAX_OBJECT_BYTES. */
  readonly maxObjectBytes: number;
  onWarning(warning: { log: string; message: string; error?: unknown }): void;
}

/** A local log that can be archived. */
export type ArchivableLog = Log & Required<Pick<Log, "droppableOffset">>;

export class ArchivedLog implements Log {
  readonly #turn = new Turn();
  #closed = false;
  /** Something was archived, and while `index` is null that is all that is known of it. */
  #hasLostIndex = false;
  #rebuilding: Promise<ArchiveIndex> | null = null;

  private constructor(
    private readonly name: string,
    private readonly local: ArchivableLog,
    private readonly access: ArchiveAccess,
    /** Null while it is not known what the archive holds: the local index is lost and the archive does not answer. */
    private index: ArchiveIndex | null,
  ) {}

  /** The log with what the archive holds of it. An archive that does not answer keeps no log from opening. */
  static async open(
    name: string,
    local: ArchivableLog,
    access: ArchiveAccess,
  ): Promise<ArchivedLog> {
    const kept = await ArchiveIndex.load(access, name);
    // A log that still starts at 0 has never let anything go, so it cannot have lost an index. Without an archive, most
    // logs have none.
    if (kept === "none" && (local.logStartOffset === 0 || !access.isConfigured)) {
      return new ArchivedLog(name, local, access, ArchiveIndex.of(access, name, []));
    }
    if (typeof kept !== "string" && (kept.endOffset ?? Infinity) >= local.logStartOffset) {
      return new ArchivedLog(name, local, access, kept);
    }
    if (kept !== "none") {
      const message = "the index of its archive is damaged: it is made anew";
      access.onWarning({ log: name, message });
    }
    const log = new ArchivedLog(name, local, access, null);
    log.#hasLostIndex = kept !== "none";
    await log.#rebuiltIndex().catch((error) => {
      const message = "what is archived cannot be read until the archive answers";
      access.onWarning({ log: name, message, error });
    });
    return log;
  }

  get logStartOffset(): number {
    const { logStartOffset } = this.local;
    // Whoever is told that the log starts here would never ask for what lies below.
    if (this.index === null && this.#hasLostIndex) return 0;
    return Math.min(this.index?.startOffset ?? logStartOffset, logStartOffset);
  }

  get logEndOffset(): number {
    return this.local.logEndOffset;
  }

  get flushedOffset(): number {
    return this.local.flushedOffset;
  }

  /** On the local disk. */
  get sizeBytes(): number {
    return this.local.sizeBytes;
  }

  get archivedBytes(): number | undefined {
    const isPlain = !this.access.isConfigured && this.index?.isEmpty === true;
    return isPlain ? undefined : this.index?.sizeBytes ?? 0;
  }

  /** See Log. */
  get missesArchive(): boolean {
    return !this.access.isConfigured && this.index?.isEmpty !== true;
  }

  get fault(): BrokerError | null {
    return this.local.fault ?? null;
  }

  append(batches: readonly Uint8Array[]): Promise<AppendResult> {
    return this.local.append(batches);
  }

  async read(offset: number, options: ReadOptions): Promise<Uint8Array> {
    for (;;) {
      const start = this.local.logStartOffset;
      if (offset < start && offset >= this.logStartOffset) {
        return await this.#readArchived(offset, options);
      }
      try {
        return await this.local.read(offset, options);
      } catch (error) {
        // What was dropped here meanwhile is in the archive now.
        if (isOutOfRange(error) && offset < this.local.logStartOffset && offset >= start) continue;
        throw isOutOfRange(error) ? offsetOutOfRange(this.name, offset, this) : error;
      }
    }
  }

  async offsetForTimestamp(timestampMs: number): Promise<number | null> {
    const upTo = this.local.logStartOffset;
    const index = this.#hasLostIndex ? await this.#knownIndex() : this.index;
    for (const entry of index?.entries ?? []) {
      if (entry.baseOffset >= upTo) break;
      if (entry.maxTimestamp < timestampMs) continue;
      const found = await this.#findTime(entry, timestampMs);
      if (found !== null) return Math.max(found, this.logStartOffset);
    }
    return await this.local.offsetForTimestamp(timestampMs);
  }

  async #findTime(entry: ArchiveEntry, timestampMs: number): Promise<number | null> {
    const stored = batchOfTime(await this.access.objects.get(this.name, entry), timestampMs);
    if (stored === null) return null;
    return recordAt(await this.#opened(stored), 0, timestampMs) ?? baseOffsetAt(stored, 0);
  }

  /** Archived batches as they were appended. */
  async #opened(stored: Uint8Array): Promise<Uint8Array> {
    return await this.local.openStored?.(stored) ?? stored;
  }

  endOffsetForEpoch(leaderEpoch: number): { leaderEpoch: number; endOffset: number } {
    return this.local.endOffsetForEpoch(leaderEpoch);
  }

  /**
   * See Log. What the policy lets go is archived first; as much as could be archived is dropped here even when it ends in
   * ARCHIVE_UNAVAILABLE.
   */
  async applyRetention(policy: RetentionPolicy): Promise<number> {
    return await this.#turn.run(async () => {
      if (this.#closed) throw logClosed(this.name);
      if (this.index === null && policy.archive === undefined) {
        return await this.local.applyRetention(policy);
      }
      const index = await this.#knownIndex();
      if (policy.archive === undefined) await this.#retainLocally(index, policy);
      else await this.#moveToArchive(index, policy, policy.archive.retentionMs);
      await this.#removeLeaving(index, policy.signal);
      await this.#forgetKeys();
      return this.logStartOffset;
    });
  }

  droppableOffset(policy: RetentionPolicy): Promise<number> {
    return this.local.droppableOffset(policy);
  }

  async compact(policy: CompactionPolicy): Promise<CompactionResult> {
    if (this.local.compact !== undefined) {
      const done = await this.local.compact(policy);
      await this.#forgetKeys();
      return done;
    }
    return { cleanOffset: this.local.logStartOffset, removedRecords: 0, removedBytes: 0 };
  }

  /** What is archived lies below every offset a log may be cut to. */
  truncateTo(offset: number): Promise<void> {
    return this.local.truncateTo(offset);
  }

  configure(config: LogConfig): Promise<void> {
    return this.local.configure(config);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.local.close();
    this.access.objects.forget(this.name);
  }

  async #readArchived(offset: number, options: ReadOptions): Promise<Uint8Array> {
    if (this.#closed) throw logClosed(this.name);
    const limitOffset = Math.min(options.endOffset, this.logEndOffset);
    if (offset >= limitOffset) return NOTHING;
    const entry = (await this.#knownIndex()).holding(offset);
    if (entry === null && offset < this.logStartOffset) {
      throw offsetOutOfRange(this.name, offset, this);
    }
    if (entry === null) {
      const reason = "no archived object holds it";
      throw corruptLog(this.name, { offset, segmentBase: -1, position: 0, reason });
    }
    const bytes = await this.access.objects.get(this.name, entry);
    const { maxBytes } = options;
    return await this.#opened(batchesFrom(bytes, offset, { limitOffset, maxBytes }));
  }

  /** Of an encrypted log: the keys of what is neither here nor in the archive. */
  async #forgetKeys(): Promise<void> {
    if (this.index === null) return;
    const archivedTo = this.index.endOffset ?? 0;
    await this.local.forgetKeys?.({ startOffset: this.logStartOffset, archivedTo });
  }

  /** Oldest first: what is archived is older than all that is here. */
  async #retainLocally(index: ArchiveIndex, policy: RetentionPolicy): Promise<void> {
    const { local } = this;
    const upTo = await local.droppableOffset(policy);
    if (upTo > local.logStartOffset) await index.endService();
    await local.applyRetention(policy);
  }

  async #moveToArchive(
    index: ArchiveIndex,
    policy: RetentionPolicy,
    retentionMs: number | null,
  ): Promise<void> {
    const { local } = this;
    try {
      await this.#archive(index, await local.droppableOffset(policy), policy.signal);
    } finally {
      const archivedTo = index.endOffset ?? local.logStartOffset;
      await local.applyRetention({ ...policy, keepFrom: Math.min(policy.keepFrom, archivedTo) });
    }
    if (retentionMs === null) return;
    const expired = index.entries.findIndex(({ maxTimestamp, endOffset }) =>
      maxTimestamp >= policy.now - retentionMs || endOffset > local.logStartOffset
    );
    const kept = expired < 0 ? index.endOffset : index.entries[expired]!.baseOffset;
    if (kept !== null) await index.raiseStart(kept);
  }

  /** Puts everything from where the archive ends up to `upTo` into it. */
  async #archive(index: ArchiveIndex, upTo: number, signal?: AbortSignal): Promise<void> {
    let offset = index.endOffset ?? this.local.logStartOffset;
    let unkept: ArchiveEntry[] = [];
    try {
      while (offset < upTo && signal?.aborted !== true && !this.#closed) {
        const entry = await this.#putObject(offset, upTo);
        unkept.push(entry);
        offset = entry.endOffset;
        if (unkept.length < MAX_UNKEPT_OBJECTS) continue;
        await index.append(unkept);
        unkept = [];
      }
    } finally {
      if (unkept.length > 0) await index.append(unkept);
    }
  }

  async #putObject(offset: number, upTo: number): Promise<ArchiveEntry> {
    const { local, access: { store, crc32c, maxObjectBytes } } = this;
    // What is encrypted here stays so: the archive never sees more than the disk does.
    const wanted = { endOffset: upTo, maxBytes: maxObjectBytes };
    const bytes = await (local.readStored?.(offset, wanted) ?? local.read(offset, wanted));
    let endOffset = offset;
    let maxTimestamp = -1;
    for (const { at } of batchSpans(bytes)) {
      const base = baseOffsetAt(bytes, at);
      // The first may have grown together with what lies before it, which is archived already.
      const isNext = endOffset === offset ? base <= offset : base === endOffset;
      if (!isNext) throw new Error(`log ${this.name} has a batch at ${base}, not ${endOffset}`);
      endOffset = base + lastOffsetDeltaAt(bytes, at) + 1;
      maxTimestamp = Math.max(maxTimestamp, maxTimestampAt(bytes, at));
    }
    if (endOffset === offset) throw new Error(`log ${this.name} has nothing at ${offset}`);
    const entry = {
      baseOffset: offset,
      endOffset,
      sizeBytes: bytes.length,
      maxTimestamp,
      crc: crc32c(bytes),
    };
    await store.put(objectKey(this.name, entry), bytes);
    return entry;
  }

  /** Removes objects that are served no more; what cannot be removed now is left to the next time. */
  async #removeLeaving(index: ArchiveIndex, signal?: AbortSignal): Promise<void> {
    let removed = 0;
    try {
      for (const entry of index.leaving) {
        if (signal?.aborted === true || this.#closed) break;
        await this.access.store.remove(objectKey(this.name, entry));
        removed++;
      }
    } finally {
      await index.forget(removed);
    }
  }

  /** Rejects with ARCHIVE_UNAVAILABLE while it has to be made again and the archive does not answer. */
  async #knownIndex(): Promise<ArchiveIndex> {
    if (this.index !== null) return this.index;
    return await (this.#rebuilding ??= this.#rebuiltIndex().finally(() => this.#rebuilding = null));
  }

  /** The index as a listing of the archive tells it. Rejects with ARCHIVE_UNAVAILABLE. */
  async #rebuiltIndex(): Promise<ArchiveIndex> {
    const { name, local, access } = this;
    const listed = await access.store.list(logPrefix(name));
    const found = listed.map((object) => entryOfKey(name, object)).filter((entry) =>
      entry !== null
    );
    const chain = chainTo(found, local.logStartOffset);
    const index = ArchiveIndex.of(access, name, []);
    await index.append(chain);
    this.index = index;
    return index;
  }
}

function isOutOfRange(error: unknown): boolean {
  return error instanceof BrokerError && error.code === "OFFSET_OUT_OF_RANGE";
}
