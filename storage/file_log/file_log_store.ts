// Owns the logs of one data directory: their names, their creation and removal, and what they share.
// Refuses to own what happens in a log (file_log.ts), and locking the data directory against other processes.
// Invariant: a log is open at most once. One whose creation or removal a crash cut short is not there.
import type { LogCipher } from "../encryption/log_cipher.ts";
import { openCipher } from "../encryption/open_cipher.ts";
import type { MasterKeys } from "../encryption/master_keys.ts";
import type { RewrappableLog } from "../encryption/rewrapping.ts";
import type { LogConfig, LogStore } from "../log.ts";
import type { Clock, Crc32c, Disk } from "../ports.ts";
import { CheckpointFile } from "./checkpoint.ts";
import { FileLog } from "./file_log.ts";
import {
  checkLogName,
  isLogDirectory,
  isNamePart,
  REMOVED_SUFFIX,
  segmentPath,
} from "./file_names.ts";
import { FilePool, MAX_IDLE_FILES } from "./file_pool.ts";
import { LeaderEpochs } from "./leader_epochs.ts";
import type { LogEnvironment, LogState, LogWarning } from "./log_environment.ts";
import { diskFault } from "./log_faults.ts";
import { type RecoveredLog, recoverLog, type RecoveryTarget } from "./recovery.ts";
import { SegmentIndex } from "./segment_index.ts";
import { SegmentIndexes } from "./segment_indexes.ts";
import { Segments } from "./segments.ts";
import { DEFAULT_TAIL_CACHE_BYTES, TailCacheBudget } from "./tail_cache.ts";
import { Slots } from "../turns.ts";
import { WriteBuffers } from "./write_buffers.ts";

/** Log after which the durable checkpoint moves: recovery reads and checks that much in about 50 ms. */
export const DEFAULT_CHECKPOINT_BYTES = 64 * 1024 * 1024;

/** Logs that recover at the same time: each needs a few MiB of memory. */
const MAX_OPENING_LOGS = 32;

export interface FileLogStoreOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly crc32c: Crc32c;
  /** Hears what an operator should know although the logs go on: cut tails, checkpoints that could not be moved. */
  onWarning(warning: LogWarning): void;
  /** Memory for the newest batches of all logs. */
  readonly tailCacheBytes?: number;
  readonly checkpointBytes?: number;
  readonly maxIdleFiles?: number;
  /** Memory for the keys of one compaction. */
  readonly maxKeyMapBytes?: number;
  /** Left out or null: logs with `encryption` are refused. */
  readonly masterKeys?: MasterKeys | null;
}

/** Logs as directories of files on a Disk. */
export class FileLogStore implements LogStore {
  readonly #env: LogEnvironment;
  readonly #open = new Set<string>();
  /** Of encrypted logs that are open. */
  readonly #ciphers = new Map<string, LogCipher>();
  readonly #opening = new Slots(MAX_OPENING_LOGS);
  /** Removals under way, by the directory in which the log lies. */
  readonly #removals = new Map<string, number>();

  constructor(options: FileLogStoreOptions) {
    const { disk, clock, crc32c } = options;
    const files = new FilePool(disk, options.maxIdleFiles ?? MAX_IDLE_FILES);
    this.#env = {
      disk,
      clock,
      crc32c,
      files,
      indexes: new SegmentIndexes({ disk, files, crc32c }),
      tailBudget: new TailCacheBudget(options.tailCacheBytes ?? DEFAULT_TAIL_CACHE_BYTES),
      buffers: new WriteBuffers(),
      checkpointBytes: options.checkpointBytes ?? DEFAULT_CHECKPOINT_BYTES,
      ...(options.maxKeyMapBytes === undefined ? {} : { maxKeyMapBytes: options.maxKeyMapBytes }),
      masterKeys: options.masterKeys ?? null,
      onWarning: (warning) => options.onWarning(warning),
    };
  }

  get encrypts(): boolean {
    return this.#env.masterKeys !== null;
  }

  /** Encrypted logs that are open. */
  *encryptedLogs(): Generator<RewrappableLog> {
    for (const [name, cipher] of this.#ciphers) {
      yield { name, isWrappedByOld: cipher.isWrappedByOld, rewrap: () => cipher.rewrap() };
    }
  }

  /** Segment files open at this moment. */
  get openFiles(): number {
    return this.#env.files.openFiles;
  }

  /**
   * See LogStore. A log that is corrupt opens, serves what lies before its fault, and refuses the rest and every append
   * with CORRUPT_LOG; its `fault` says so. Rejects with STORAGE_FAILED or DISK_FULL when the disk does not let it
   * recover, and with a plain Error when the log is open already.
   */
  async open(name: string, config: LogConfig): Promise<FileLog> {
    checkLogName(name);
    if (this.#open.has(name)) throw new Error(`log ${name} is open already`);
    this.#open.add(name);
    try {
      return await this.#opening.run(() => this.#openLog(name, config));
    } catch (error) {
      await this.#letGo(name);
      throw diskFault(name, "open", error);
    }
  }

  async remove(name: string): Promise<void> {
    checkLogName(name);
    for (const open of this.#open) {
      if (open === name || open.startsWith(`${name}/`)) throw new Error(`log ${open} is open`);
    }
    const parent = name.split("/").slice(0, -1).join("/");
    this.#removals.set(parent, (this.#removals.get(parent) ?? 0) + 1);
    try {
      await this.#removeLog(name, parent);
    } finally {
      const others = this.#removals.get(parent)! - 1;
      if (others > 0) this.#removals.set(parent, others);
      else this.#removals.delete(parent);
    }
    // While others are removed there it is not empty, or theirs to remove.
    if (parent !== "" && !this.#isUsed(parent)) await this.#removeEmpty(parent);
  }

  async #removeLog(name: string, parent: string): Promise<void> {
    const { disk } = this.#env;
    const removed = name + REMOVED_SUFFIX;
    await disk.removeTree(removed);
    if ((await disk.list(name)).length === 0) return await disk.removeTree(name);
    await disk.rename(name, removed);
    await this.#removeRest(removed, parent);
  }

  /** Whether logs are open, or being opened or removed, right below. */
  #isUsed(directory: string): boolean {
    if (this.#removals.has(directory)) return true;
    return [...this.#open].some((name) => name.startsWith(`${directory}/`));
  }

  /** Removes what removals have left right below `directory`: before the first log is opened there. */
  async tidy(directory: string): Promise<void> {
    checkLogName(directory);
    for (const name of await this.#env.disk.list(directory)) {
      if (isNamePart(name)) await this.#removeEmpty(`${directory}/${name}`);
    }
  }

  /** What is left over for now is in nobody's way. */
  async #removeEmpty(directory: string): Promise<void> {
    try {
      await this.#env.disk.removeEmpty(directory);
    } catch (error) {
      const message = "its empty directory could not be removed";
      this.#env.onWarning({ log: directory, message, error });
    }
  }

  /** Takes away a log that was renamed for removal; the new name is durable first, so that it never comes back in part. */
  async #removeRest(removed: string, parent: string): Promise<void> {
    const { disk } = this.#env;
    await disk.syncDirectory(parent);
    await disk.removeTree(removed);
    await disk.syncDirectory(parent);
  }

  /** See LogStore. Also finishes removals that a crash cut short. */
  async list(prefix: string): Promise<string[]> {
    if (prefix !== "") checkLogName(prefix);
    const found: string[] = [];
    const pending = [prefix];
    for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
      const names = await this.#env.disk.list(directory);
      if (directory !== prefix && isLogDirectory(names)) found.push(directory);
      const below = (name: string) => directory === "" ? name : `${directory}/${name}`;
      for (const name of names) {
        if (name.endsWith(REMOVED_SUFFIX)) await this.#removeRest(below(name), directory);
        else if (isNamePart(name)) pending.push(below(name));
      }
    }
    return found.sort();
  }

  async #openLog(name: string, config: LogConfig): Promise<FileLog> {
    const env = this.#env;
    const checkpointFile = new CheckpointFile(env.disk, name, env.crc32c);
    const { indexIntervalBytes } = config;
    const target: RecoveryTarget = { name, directory: name, indexIntervalBytes, checkpointFile };
    const cipher = config.encryption === "aes-256-gcm" ? await this.#openCipher(name) : null;
    const recovered = await recoverLog(env, target) ??
      await this.#create(target, config.startOffset ?? 0);
    const { fault, logStartOffset, logEndOffset } = recovered;
    const state: LogState = {
      name,
      directory: name,
      segments: new Segments(recovered.segments),
      epochs: recovered.epochs,
      cipher,
      index: recovered.index,
      config,
      logStartOffset,
      logEndOffset,
      flushedOffset: logEndOffset,
      segmentCreatedMs: recovered.segmentCreatedMs ?? env.clock.now(),
      generation: 0,
      fault,
    };
    const path = fault === null ? segmentPath(name, state.segments.active.baseOffset) : null;
    const file = path === null ? null : await env.files.pin(path, { create: false });
    const onClosed = () => this.#letGo(name);
    const { uncheckpointedBytes } = recovered;
    if (cipher !== null) this.#ciphers.set(name, cipher);
    const log = new FileLog(env, state, { checkpointFile, file, uncheckpointedBytes, onClosed });
    // A log that is killed again and again must not be scanned further each time. For little it is not worth the syncs.
    if (fault === null && uncheckpointedBytes > env.checkpointBytes / 2) await log.checkpoint();
    return log;
  }

  async #openCipher(name: string): Promise<LogCipher> {
    const { disk, crc32c, masterKeys } = this.#env;
    return await openCipher(masterKeys === null ? null : { disk, crc32c, masterKeys }, name);
  }

  /** No file of the log stays open or known: another log may come to lie at the same paths. */
  async #letGo(name: string): Promise<void> {
    this.#env.indexes.dropBelow(name);
    await this.#env.files.dropBelow(name);
    this.#ciphers.delete(name);
    this.#open.delete(name);
  }

  /** Makes an empty log. The checkpoint comes last, so that it proves that the first segment had been there. */
  async #create(
    { directory, checkpointFile }: RecoveryTarget,
    startOffset: number,
  ): Promise<RecoveredLog> {
    const { disk, files, clock } = this.#env;
    await disk.makeDirectory(directory);
    await files.pin(segmentPath(directory, startOffset), { create: true });
    const parts = directory.split("/");
    for (let depth = parts.length; depth >= 0; depth--) {
      await disk.syncDirectory(parts.slice(0, depth).join("/"));
    }
    const segmentCreatedMs = clock.now();
    await checkpointFile.write({
      logStartOffset: startOffset,
      segmentBase: startOffset,
      position: 0,
      offset: startOffset,
      segmentCreatedMs,
    });
    await disk.syncDirectory(directory);
    return {
      segments: [{ baseOffset: startOffset, sizeBytes: 0, maxTimestamp: null }],
      index: new SegmentIndex(startOffset),
      epochs: new LeaderEpochs(),
      logStartOffset: startOffset,
      logEndOffset: startOffset,
      segmentCreatedMs,
      uncheckpointedBytes: 0,
      fault: null,
    };
  }
}
