// Owns a disk that is made slow, small or broken while it is in use.
// Refuses to own the disk below it, which keeps the bytes, and when a fault begins (fault_orders.ts).
// Invariant: without a fault everything is passed on as it is; a write that was taken is one that the disk below has taken.
import { type Disk, type DiskFile, DiskFullError } from "../../storage/ports.ts";

export interface DiskFaults {
  /** Every sync takes so much longer, ms. */
  syncDelayMs: number;
  /** Bytes that all files together may have; null: as many as the disk below takes. */
  capacityBytes: number | null;
  /** Every sync of files whose path begins so fails, and every opening of them; null: none. */
  brokenPath: string | null;
}

export function noDiskFaults(): DiskFaults {
  return { syncDelayMs: 0, capacityBytes: null, brokenPath: null };
}

/** `disk` with `faults`, which may change at any time. */
export class FaultyDisk implements Disk {
  /** Bytes by path, of the files that were opened through this disk. */
  readonly #sizes = new Map<string, number>();

  constructor(
    private readonly disk: Disk,
    private readonly faults: DiskFaults,
    private readonly pause: (ms: number) => Promise<void>,
  ) {}

  /** Of all files known. */
  get usedBytes(): number {
    let used = 0;
    for (const size of this.#sizes.values()) used += size;
    return used;
  }

  /** What may be written yet; Infinity without a capacity. */
  get freeBytes(): number {
    const { capacityBytes } = this.faults;
    return capacityBytes === null ? Infinity : Math.max(0, capacityBytes - this.usedBytes);
  }

  async open(path: string, options: { create: boolean }): Promise<DiskFile> {
    this.#refuseBroken(path, "open");
    if (options.create && this.freeBytes === 0 && !this.#sizes.has(path)) {
      throw new DiskFullError(`no space left for ${path}`);
    }
    const file = await this.disk.open(path, options);
    this.#sizes.set(path, await file.size());
    return this.#faultyFile(path, file);
  }

  list(directory: string): Promise<string[]> {
    return this.disk.list(directory);
  }

  makeDirectory(directory: string): Promise<void> {
    return this.disk.makeDirectory(directory);
  }

  async remove(path: string): Promise<void> {
    await this.disk.remove(path);
    this.#sizes.delete(path);
  }

  async removeTree(directory: string): Promise<void> {
    await this.disk.removeTree(directory);
    for (const path of this.#sizes.keys()) {
      if (path.startsWith(`${directory}/`)) this.#sizes.delete(path);
    }
  }

  removeEmpty(directory: string): Promise<void> {
    return this.disk.removeEmpty(directory);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.disk.rename(from, to);
    const moved = [...this.#sizes].filter(([path]) => path === from || path.startsWith(`${from}/`));
    for (const [path, size] of moved) {
      this.#sizes.delete(path);
      this.#sizes.set(to + path.slice(from.length), size);
    }
  }

  async syncDirectory(directory: string): Promise<void> {
    if (this.faults.syncDelayMs > 0) await this.pause(this.faults.syncDelayMs);
    await this.disk.syncDirectory(directory);
  }

  #faultyFile(path: string, file: DiskFile): DiskFile {
    return {
      read: (into, position) => file.read(into, position),
      write: async (bytes, position) => {
        const room = (this.#sizes.get(path) ?? 0) + this.freeBytes - position;
        if (bytes.length > 0 && room <= 0) throw new DiskFullError(`no space left for ${path}`);
        // As a real disk does: what still fits is written, and the count says so.
        const written = await file.write(
          room < bytes.length ? bytes.subarray(0, room) : bytes,
          position,
        );
        this.#sizes.set(path, Math.max(this.#sizes.get(path) ?? 0, position + written));
        return written;
      },
      sync: async () => {
        if (this.faults.syncDelayMs > 0) await this.pause(this.faults.syncDelayMs);
        this.#refuseBroken(path, "sync");
        await file.sync();
      },
      truncate: async (size) => {
        await file.truncate(size);
        this.#sizes.set(path, size);
      },
      size: () => file.size(),
      close: () => file.close(),
    };
  }

  #refuseBroken(path: string, what: string): void {
    const { brokenPath } = this.faults;
    if (brokenPath !== null && path.startsWith(brokenPath)) {
      throw new Error(`input/output error: ${what} of ${path}`);
    }
  }
}
