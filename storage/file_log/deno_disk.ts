// Owns the Disk port over the real file system, below one root directory.
// Refuses to own what the bytes mean, when to sync and what to do when it fails.
// Invariant: `sync` is fdatasync on that very descriptor, `syncDirectory` fsync on the directory; both are awaited.
import fs from "node:fs";
import { join, resolve } from "node:path";
import { type Disk, type DiskFile, DiskFullError, FileMissingError } from "../ports.ts";
import { Slots } from "../turns.ts";
import type { WriteThread, WrittenFile } from "./write_thread.ts";

/**
 * Writes up to this size go to the page cache on the calling thread: 5 us for 4 KB, 0.4 ms for 1 MB into memory the kernel
 * has at hand. Deno's asynchronous `fs.write` does the same, whatever its name says. Handing 100 KB to the write thread
 * was slower on two cores (163,000 messages/s against 200,000); a larger write may hold the event loop for long.
 */
const MAX_INLINE_WRITE_BYTES = 1_048_576;
/** What a file or directory that Waybill makes allows: its own user only. */
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

/**
 * The file system below `root`, which is made when it is not there. Paths are joined to it and not checked. Large writes
 * go through `thread`; without one they hold the event loop while they enter the page cache.
 */
export class DenoDisk implements Disk {
  constructor(readonly root: string, private readonly thread: WriteThread | null = null) {}

  async open(path: string, options: { create: boolean }): Promise<DiskFile> {
    const { O_RDWR, O_CREAT } = fs.constants;
    const full = this.#at(path);
    const fd = options.create
      ? await settled<number>((done) => fs.open(full, O_RDWR | O_CREAT, FILE_MODE, done))
      : openNow(full, O_RDWR);
    return new DenoDiskFile(fd, resolve(full), this.thread);
  }

  async list(directory: string): Promise<string[]> {
    try {
      return await settled<string[]>((done) => fs.readdir(this.#at(directory), done));
    } catch (error) {
      if (error instanceof FileMissingError || codeOf(error) === "ENOTDIR") return [];
      throw error;
    }
  }

  async makeDirectory(directory: string): Promise<void> {
    const options = { recursive: true, mode: DIRECTORY_MODE };
    await settled((done) => fs.mkdir(this.#at(directory), options, (error) => done(error)));
  }

  async remove(path: string): Promise<void> {
    try {
      await settled((done) => fs.unlink(this.#at(path), done));
    } catch (error) {
      if (!(error instanceof FileMissingError)) throw error;
    }
  }

  async removeTree(directory: string): Promise<void> {
    const options = { recursive: true, force: true };
    await settled((done) => fs.rm(this.#at(directory), options, done));
  }

  async removeEmpty(directory: string): Promise<void> {
    try {
      await settled((done) => fs.rmdir(this.#at(directory), done));
    } catch (error) {
      if (error instanceof FileMissingError || codeOf(error) === "ENOTEMPTY") return;
      throw error;
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await settled((done) => fs.rename(this.#at(from), this.#at(to), done));
  }

  async syncDirectory(directory: string): Promise<void> {
    const fd = openNow(this.#at(directory), fs.constants.O_RDONLY);
    try {
      await settled((done) => fs.fsync(fd, done));
    } finally {
      fs.closeSync(fd);
    }
  }

  #at(path: string): string {
    return join(this.root, path);
  }
}

/**
 * Syncs that may be under way at once. Deno makes every blocking call on a pool of about 32 threads: without a bound, 40
 * partitions on a disk that hangs would leave no thread for reads, nor for other disks.
 */
const MAX_SYNCS_AT_ONCE = 16;
const syncs = new Slots(MAX_SYNCS_AT_ONCE);
let nextHandle = 0;

class DenoDiskFile implements DiskFile {
  /** As the write thread knows it; null until the first large write. */
  #written: WrittenFile | null = null;

  constructor(
    readonly fd: number,
    readonly path: string,
    private readonly thread: WriteThread | null,
  ) {}

  read(into: Uint8Array, position: number): Promise<number> {
    return settled((done) => fs.read(this.fd, into, 0, into.length, position, done));
  }

  async write(bytes: Uint8Array, position: number): Promise<number> {
    try {
      if (this.thread === null || bytes.length <= MAX_INLINE_WRITE_BYTES) {
        return fs.writeSync(this.fd, bytes, 0, bytes.length, position);
      }
      return await this.thread.write(this.#written ??= this.#identity(), bytes, position);
    } catch (error) {
      throw translated(error);
    }
  }

  #identity(): WrittenFile {
    const { dev, ino } = fs.fstatSync(this.fd);
    return { handle: nextHandle++, path: this.path, device: dev, inode: ino };
  }

  async sync(): Promise<void> {
    await syncs.run(() => settled((done) => fs.fdatasync(this.fd, done)));
  }

  async truncate(size: number): Promise<void> {
    await settled((done) => fs.ftruncate(this.fd, size, done));
  }

  size(): Promise<number> {
    return now(() => fs.fstatSync(this.fd).size);
  }

  close(): Promise<void> {
    if (this.#written !== null) this.thread?.forget(this.#written.handle);
    return now(() => fs.closeSync(this.fd));
  }
}

// Calls that change nothing on disk and find what they need in memory are made on the calling thread: they take 5 us
// there, and 100 us on another one. Opening 1,000 logs is made of them.

function openNow(path: string, flags: number): number {
  try {
    return fs.openSync(path, flags);
  } catch (error) {
    throw translated(error);
  }
}

/** The outcome of `call`, made at once. */
function now<T>(call: () => T): Promise<T> {
  try {
    return Promise.resolve(call());
  } catch (error) {
    return Promise.reject(translated(error));
  }
}

/** The outcome of one callback-style call. */
function settled<T = unknown>(
  start: (done: (error: Error | null, value?: T) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => error ? reject(translated(error)) : resolve(value as T));
  });
}

function translated(error: unknown): unknown {
  const message = error instanceof Error ? error.message : String(error);
  switch (codeOf(error)) {
    case "ENOSPC":
    case "EDQUOT":
      return new DiskFullError(message, { cause: error });
    case "ENOENT":
      return new FileMissingError(message, { cause: error });
    default:
      return error;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
