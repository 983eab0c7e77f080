// Owns opening, listing and removing the logs in one Deno KV database.
// Refuses large logs: for small journals, and places without a disk of their own. An index of all batches is in memory, and
// opening reads the whole log once; `maxLogBytes` bounds both.
// Invariant: opening a log makes every earlier opening of it unable to write, in whatever process.
//
// Keys: ["schema"]; ["heads", ...name parts]; ["batches", name, base offset, piece].
import { crcMatches } from "../format/record_batch.ts";
import type { Log, LogConfig, LogStore } from "../log.ts";
import {
  type BatchEntry,
  BatchList,
  type BatchPlace,
  describeBatches,
} from "../memory/batch_list.ts";
import { checkPathName } from "../path_name.ts";
import type { Clock, Crc32c, Randomness } from "../ports.ts";
import { asStorage, commitAtomic, openKvDatabase } from "./kv_database.ts";
import { corrupt, KvLog, type LogHead } from "./kv_log.ts";
import { deletePieces, readBatches } from "./kv_pieces.ts";
import { migrate, type Migration } from "./kv_schema.ts";

/** Batches that one log holds at most, when nothing else is said. */
export const MAX_KV_LOG_BYTES = 64 * 1024 * 1024;
/** Times that others may open the same log in between before opening is given up. */
const MAX_OPEN_ATTEMPTS = 16;
const END = Number.MAX_SAFE_INTEGER;

/** Version 1 is where the store began: nothing to change. */
export const LOG_MIGRATIONS: readonly Migration[] = [{ to: 1, run: () => Promise.resolve() }];

export interface KvLogStoreOptions {
  /** Path of the database file; its directory must be there. */
  readonly path: string;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly crc32c: Crc32c;
  readonly maxLogBytes?: number;
}

/** Opens the store at a path. Errors: plain Error when a newer release wrote it; STORAGE_FAILED, DISK_FULL. */
export async function openKvLogStore(options: KvLogStoreOptions): Promise<KvLogStore> {
  const kv = await openKvDatabase(options.path);
  try {
    const name = `the log store ${options.path}`;
    await migrate(kv, ["schema"], { migrations: LOG_MIGRATIONS, name });
    return new KvLogStore(kv, options);
  } catch (error) {
    kv.close();
    throw error;
  }
}

/**
 * Logs in Deno KV. Errors of `Log`, and: an append that would make a log larger than `maxLogBytes` is refused with
 * DISK_FULL, nothing of it kept. Use `openKvLogStore`.
 */
export class KvLogStore implements LogStore {
  readonly #open = new Set<string>();

  constructor(private readonly kv: Deno.Kv, private readonly options: KvLogStoreOptions) {}

  async open(name: string, config: LogConfig): Promise<Log> {
    checkPathName(name);
    if (this.#open.has(name)) throw new Error(`log ${name} is open already`);
    this.#open.add(name);
    try {
      const head = await this.#claim(name);
      await this.#deleteStrays(name, head);
      const batches = await this.#load(name, head.value, config);
      const { clock, crc32c, maxLogBytes = MAX_KV_LOG_BYTES } = this.options;
      const onClosed = () => this.#open.delete(name);
      const context = { kv: this.kv, name, clock, crc32c, maxLogBytes, onClosed };
      return new KvLog(context, head, { batches, config });
    } catch (error) {
      this.#open.delete(name);
      throw error;
    }
  }

  async remove(name: string): Promise<void> {
    checkPathName(name);
    if (this.#open.has(name)) throw new Error(`log ${name} is open: close it before removing it`);
    const gone = this.kv.atomic().delete(headKey(name));
    await commitAtomic(`remove log ${name}`, gone);
    // Should somebody make the log anew meanwhile, what is left is a stray there, and deleted by them.
    const check = { key: headKey(name), versionstamp: null };
    await deletePieces(this.kv, name, { from: 0, to: END, check });
  }

  async list(prefix: string): Promise<string[]> {
    if (prefix !== "") checkPathName(prefix);
    const names: string[] = [];
    await asStorage("list the logs", async () => {
      const selector = { prefix: prefix === "" ? ["heads"] : headKey(prefix) };
      for await (const { key } of this.kv.list(selector)) names.push(key.slice(1).join("/"));
    });
    return names;
  }

  /** Lets go of the database; logs that are still open can do nothing from then on. */
  close(): void {
    this.kv.close();
  }

  /** Makes the log's head ours: from here on no earlier opening can change it. */
  async #claim(name: string): Promise<Deno.KvEntry<LogHead>> {
    const key = headKey(name);
    for (let attempt = 0; attempt < MAX_OPEN_ATTEMPTS; attempt++) {
      const found = await asStorage(`open log ${name}`, () => this.kv.get<LogHead>(key));
      const { logStartOffset, logEndOffset } = found.value ??
        { logStartOffset: 0, logEndOffset: 0 };
      const openedBy = this.options.randomness.uuid();
      const value: LogHead = { logStartOffset, logEndOffset, openedBy };
      const operation = this.kv.atomic().check(found).set(key, value);
      const claimed = await commitAtomic(`open log ${name}`, operation);
      if (claimed.ok) return { key, value, versionstamp: claimed.versionstamp };
    }
    throw new Error(`log ${name} could not be opened: others keep opening it`);
  }

  async #deleteStrays(name: string, head: Deno.KvEntry<LogHead>): Promise<void> {
    const { logStartOffset, logEndOffset } = head.value;
    for (const [from, to] of [[0, logStartOffset], [logEndOffset, END]] as const) {
      if (!await deletePieces(this.kv, name, { from, to, check: head })) {
        throw new Error(`log ${name} was opened by another writer at the same time`);
      }
    }
  }

  /** The index of the batches; throws CORRUPT_LOG unless they are whole and cover the head's range. */
  async #load(name: string, head: LogHead, config: LogConfig): Promise<BatchList<BatchPlace>> {
    const batches = new BatchList<BatchPlace>(head.logStartOffset);
    const range = { from: head.logStartOffset, to: head.logEndOffset };
    const now = this.options.clock.monotonic();
    for await (const { bytes } of readBatches(this.kv, name, range)) {
      if (!crcMatches(bytes, 0, this.options.crc32c)) throw corrupt(name, batches.endOffset);
      for (const { bytes: _, ...place } of this.#described(name, bytes, batches.endOffset)) {
        batches.push(place, config, now);
      }
    }
    if (batches.endOffset !== head.logEndOffset) throw corrupt(name, batches.endOffset);
    return batches;
  }

  #described(name: string, bytes: Uint8Array, nextOffset: number): BatchEntry[] {
    try {
      return describeBatches([bytes], nextOffset);
    } catch {
      throw corrupt(name, nextOffset);
    }
  }
}

function headKey(name: string): Deno.KvKey {
  return ["heads", ...name.split("/")];
}
