// Owns the types of what the outside world is to Waybill: time, chance, timers and disk.
// Refuses to own any implementation: adapters live in ops/ and storage/file_log/, fakes in tests/.
// Invariant: nothing below `api/` reaches the outside but through these, handed in, without default.

/** Time. `now` is wall time in ms since the epoch and may jump; `monotonic` is ms since some start and never goes back. */
export interface Clock {
  now(): number;
  monotonic(): number;
}

/** Cancels what it was returned for; calling it again does nothing. */
export type Cancel = () => void;

/** Timers on the monotonic clock. `run` is called once, `delayMs` from now at the earliest. */
export interface Timers {
  after(delayMs: number, run: () => void): Cancel;
}

/** Chance. `uuid` is a random (version 4) UUID, `fraction` is uniform in [0, 1). */
export interface Randomness {
  uuid(): string;
  fraction(): number;
}

/** CRC-32C (Castagnoli) of `bytes` as an unsigned 32-bit integer. */
export type Crc32c = (bytes: Uint8Array) => number;

/** One open file. Positions and sizes are in bytes. */
export interface DiskFile {
  /** Reads up to `into.length` bytes from `position`; resolves to the count read, 0 at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** Writes from `position`; resolves to the count written, which may be short. Rejects with `DiskFullError` when there is no space at all. */
  write(bytes: Uint8Array, position: number): Promise<number>;
  /** `fdatasync`: when it resolves, every byte written before the call is durable. A rejection means: unknown. */
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

/** A file system below one root; paths are relative to it, with `/`. */
export interface Disk {
  /** Opens for reading and writing. `create` makes the file when it is not there; without it a missing file rejects with `FileMissingError`. */
  open(path: string, options: { create: boolean }): Promise<DiskFile>;
  /** Names (not paths) in a directory; empty when it is not there. */
  list(directory: string): Promise<string[]>;
  makeDirectory(directory: string): Promise<void>;
  /** Removes a file; a missing one is no error. */
  remove(path: string): Promise<void>;
  /** Removes a directory with all it holds; a missing one is no error. */
  removeTree(directory: string): Promise<void>;
  /** Removes a directory that holds nothing; one that holds something stays, a missing one is no error. */
  removeEmpty(directory: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Makes creations, renames and removals in `directory` durable. */
  syncDirectory(directory: string): Promise<void>;
}

/** No space left on the device, or over quota. */
export class DiskFullError extends Error {
  override name = "DiskFullError";
}

/** The file is not there. */
export class FileMissingError extends Error {
  override name = "FileMissingError";
}
