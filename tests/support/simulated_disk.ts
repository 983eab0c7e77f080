// Owns a disk in memory that fails as disks do: power cuts, failed and slow syncs, no space, flipped bits.
// Refuses to own any expectation of what survives: it only says what a real disk may leave behind.
// Invariant: what was synced survives every crash; of what was not, each change is kept or lost on its own, by the seed.
//
// The fault model. A file has bytes on disk (durable), bytes as a reader sees them (visible), and the changes between.
// A crash lets each change be kept, dropped, torn at a byte, torn into 512-byte sectors, or leave zeros or garbage where
// the file had none before; sectors that were on disk are old or new, never garbage (what every write-ahead log assumes).
// A directory entry has the same two states; syncing a file does not make its name durable. After a failed sync of a
// file the visible bytes stay, but what was not written is forgotten: a later successful sync does not write it. (Names
// are journalled metadata: there a failed commit stops the file system, so no later sync lies about them.)
import { type Disk, type DiskFile, DiskFullError, FileMissingError } from "../../storage/ports.ts";
import { type SeededRandomness, seededRandomness } from "./seeded_randomness.ts";
import { type Entry, SimulatedDirectory } from "./simulated_directory.ts";
import { type CrashFate, SimulatedInode } from "./simulated_inode.ts";

/** Room without end. */
export const UNLIMITED_BYTES = Number.MAX_SAFE_INTEGER;

export type { CrashFate };

export type DiskOperation =
  | "open"
  | "create"
  | "read"
  | "write"
  | "sync"
  | "truncate"
  | "remove"
  | "rename"
  | "makeDirectory"
  | "syncDirectory";

/** The machine is off: every call rejects with this until `crash` has been called. */
export class PowerLossError extends Error {
  override name = "PowerLossError";
}

interface PlannedFailure {
  readonly operation: DiskOperation;
  readonly path: RegExp;
  readonly error: Error;
}

export class SimulatedDisk implements Disk {
  readonly randomness: SeededRandomness;
  /** Room for the bytes of all files together. */
  capacityBytes = UNLIMITED_BYTES;
  /** False: syncs do nothing and say they did. */
  syncing = true;
  /** The machine stops instead of this change (counted from 1), null for never. */
  crashAtChange: number | null = null;
  /** Calls that change something, so far; each is a point at which the machine may stop. */
  changes = 0;
  bytesRead = 0;
  /** Every call so far, as `operation path`. */
  readonly calls: string[] = [];
  #root = new SimulatedDirectory();
  #isOff = false;
  #boot = 0;
  #failures: PlannedFailure[] = [];
  #gate: Promise<void> | null = null;

  constructor(options: { seed: number }) {
    this.randomness = seededRandomness(options.seed);
  }

  get isOff(): boolean {
    return this.#isOff;
  }

  /** The next such call on a matching path rejects with `error`. */
  failOnce(operation: DiskOperation, path: RegExp, error: Error = new Error("EIO")): void {
    this.#failures.push({ operation, path, error });
  }

  /** Syncs of files do not end until the returned function is called. */
  holdSyncs(): () => void {
    const gate = Promise.withResolvers<void>();
    this.#gate = gate.promise;
    return () => {
      this.#gate = null;
      gate.resolve();
    };
  }

  /** Cuts the power and brings the machine up again: open files are gone, and so is what the fate takes. */
  crash(fate: CrashFate): void {
    this.#isOff = false;
    this.#boot++;
    this.#failures = [];
    this.crashAtChange = null;
    this.#root.settle(fate, this.randomness);
  }

  /** What the process sees of the files dies with it, the disk does not: kill -9. */
  killProcess(): void {
    this.#isOff = false;
    this.#boot++;
    this.#failures = [];
    this.crashAtChange = null;
  }

  /** Bytes of a file as a reader sees them. */
  contents(path: string): Uint8Array {
    return this.#file(path).bytes().slice();
  }

  /** Replaces bytes of a file behind everyone's back, on disk and in the cache. */
  overwrite(path: string, edit: (bytes: Uint8Array) => Uint8Array): void {
    this.#file(path).replace(edit(this.contents(path)));
  }

  /** The disk as one process has it: when the machine crashes or the process is killed, every later call rejects. */
  session(): Disk {
    const boot = this.#boot;
    const alive = <A extends unknown[], T>(call: (...args: A) => Promise<T>) => (...args: A) => {
      if (boot === this.#boot) return call.apply(this, args);
      return Promise.reject(new PowerLossError("this process is dead"));
    };
    return {
      open: alive(this.open),
      list: alive(this.list),
      makeDirectory: alive(this.makeDirectory),
      remove: alive(this.remove),
      removeTree: alive(this.removeTree),
      removeEmpty: alive(this.removeEmpty),
      rename: alive(this.rename),
      syncDirectory: alive(this.syncDirectory),
    };
  }

  /** Another disk that holds, durably, what readers see on this one now. */
  clone(): SimulatedDisk {
    const twin = new SimulatedDisk({ seed: this.randomness.seed });
    twin.#root = this.#root.clone();
    return twin;
  }

  /** Paths of all files below `directory`, in order. */
  paths(directory = ""): string[] {
    const found: string[] = [];
    const walk = (at: SimulatedDirectory, path: string) => {
      for (const [name, entry] of at.visible) {
        const below = path === "" ? name : `${path}/${name}`;
        if (entry instanceof SimulatedDirectory) walk(entry, below);
        else found.push(below);
      }
    };
    const start = this.#find(directory);
    if (start instanceof SimulatedDirectory) walk(start, directory);
    return found.sort();
  }

  async open(path: string, options: { create: boolean }): Promise<DiskFile> {
    await this.#enter("open", path);
    const found = this.#find(path);
    if (found instanceof SimulatedDirectory) throw new Error(`EISDIR: ${path}`);
    if (found !== null) return this.#handle(path, found);
    if (!options.create) throw new FileMissingError(`no file ${path}`);
    this.#change("create", path);
    if (this.capacityBytes !== UNLIMITED_BYTES && this.#root.usedBytes() >= this.capacityBytes) {
      throw new DiskFullError(`no space for ${path}`);
    }
    const file = new SimulatedInode();
    const { parent, name } = this.#parentOf(path);
    parent.change({ type: "set", name, entry: file });
    return this.#handle(path, file);
  }

  async list(directory: string): Promise<string[]> {
    await this.#enter("read", directory);
    const found = this.#find(directory);
    return found instanceof SimulatedDirectory ? [...found.visible.keys()] : [];
  }

  async makeDirectory(directory: string): Promise<void> {
    await this.#enter("makeDirectory", directory);
    const parts = directory.split("/");
    for (let depth = 1; depth <= parts.length; depth++) {
      const path = parts.slice(0, depth).join("/");
      if (this.#find(path) !== null) continue;
      this.#change("makeDirectory", path);
      const { parent, name } = this.#parentOf(path);
      parent.change({ type: "set", name, entry: new SimulatedDirectory() });
    }
  }

  async remove(path: string): Promise<void> {
    await this.#enter("remove", path);
    if (this.#find(path) === null) return;
    this.#change("remove", path);
    const { parent, name } = this.#parentOf(path);
    parent.change({ type: "delete", name });
  }

  async removeTree(directory: string): Promise<void> {
    const boot = this.#boot;
    for (const path of this.#pathsToRemove(directory)) {
      if (boot !== this.#boot) throw new PowerLossError(`a crash came before removing ${path}`);
      await this.remove(path);
    }
  }

  async removeEmpty(directory: string): Promise<void> {
    const found = this.#find(directory);
    if (found instanceof SimulatedDirectory && found.visible.size === 0) {
      await this.remove(directory);
    }
  }

  /** All below `path` and then itself, children first. */
  #pathsToRemove(path: string): string[] {
    const found = this.#find(path);
    if (found === null) return [];
    const below = found instanceof SimulatedDirectory ? [...found.visible.keys()] : [];
    return [...below.flatMap((name) => this.#pathsToRemove(`${path}/${name}`)), path];
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#enter("rename", from);
    const entry = this.#find(from);
    if (entry === null) throw new FileMissingError(`no file ${from}`);
    const source = this.#parentOf(from);
    const target = this.#parentOf(to);
    if (source.parent !== target.parent) throw new Error(`rename across directories: ${to}`);
    this.#change("rename", from);
    source.parent.change({ type: "rename", from: source.name, to: target.name, entry });
  }

  async syncDirectory(directory: string): Promise<void> {
    const found = directory === "" ? this.#root : this.#find(directory);
    if (!(found instanceof SimulatedDirectory)) throw new FileMissingError(`none: ${directory}`);
    const covered = found.changeCount;
    await this.#enter("syncDirectory", directory, () => found.writeSome(this.randomness));
    this.#change("syncDirectory", directory);
    if (!this.syncing) return;
    found.makeDurable(covered);
  }

  #handle(path: string, file: SimulatedInode): DiskFile {
    const boot = this.#boot;
    const enter = async (operation: DiskOperation, onFailure?: () => void) => {
      if (boot !== this.#boot) throw new PowerLossError(`${path} was open before the crash`);
      await this.#enter(operation, path, onFailure);
      if (boot !== this.#boot) throw new PowerLossError(`${path} was open before the crash`);
    };
    let closed = false;
    const refuseClosed = () => {
      if (closed) throw new Error(`EBADF: ${path}`);
    };
    return {
      read: async (into, position) => {
        refuseClosed();
        await enter("read");
        const part = file.bytes().subarray(position, position + into.length);
        into.set(part);
        this.bytesRead += part.length;
        return part.length;
      },
      write: async (bytes, position) => {
        refuseClosed();
        await enter("write", () => {
          file.write(bytes.slice(0, this.randomness.integer(bytes.length + 1)), position);
        });
        this.#change("write", path);
        const fitting = this.#fitting(file, bytes.length, position);
        if (fitting === 0) throw new DiskFullError(`no space in ${path}`);
        file.write(bytes.slice(0, fitting), position);
        return fitting;
      },
      sync: async () => {
        refuseClosed();
        const covered = file.changeCount;
        await this.#gate;
        await enter("sync", () => file.loseChanges(this.randomness));
        this.#change("sync", path);
        if (this.syncing) file.makeDurable(covered);
      },
      truncate: async (size) => {
        refuseClosed();
        await enter("truncate");
        this.#change("truncate", path);
        file.truncate(size);
      },
      size: async () => {
        refuseClosed();
        await enter("read");
        return file.bytes().length;
      },
      close: async () => {
        refuseClosed();
        closed = true;
        await Promise.resolve();
      },
    };
  }

  async #enter(operation: DiskOperation, path: string, onFailure?: () => void): Promise<void> {
    this.#refuseWhenOff();
    const boot = this.#boot;
    // Lets other calls come in between, as threads would.
    await Promise.resolve();
    this.#refuseWhenOff();
    if (boot !== this.#boot) throw new PowerLossError(`a crash came before ${operation} ${path}`);
    this.calls.push(`${operation} ${path}`);
    const index = this.#failures.findIndex((failure) =>
      failure.operation === operation && failure.path.test(path)
    );
    if (index < 0) return;
    const [failure] = this.#failures.splice(index, 1);
    onFailure?.();
    throw failure!.error;
  }

  /** Counts a change, or stops the machine in its place. */
  #change(operation: DiskOperation, path: string): void {
    this.changes++;
    if (this.changes !== this.crashAtChange) return;
    this.#isOff = true;
    throw new PowerLossError(`power lost before ${operation} ${path}`);
  }

  #refuseWhenOff(): void {
    if (this.#isOff) throw new PowerLossError("the machine is off");
  }

  /** Bytes of a write that there is room for. */
  #fitting(file: SimulatedInode, length: number, position: number): number {
    if (this.capacityBytes === UNLIMITED_BYTES) return length;
    const growth = Math.max(0, position + length - file.bytes().length);
    const room = Math.max(0, this.capacityBytes - this.#root.usedBytes());
    return growth <= room ? length : Math.max(0, length - (growth - room));
  }

  #file(path: string): SimulatedInode {
    const found = this.#find(path);
    if (!(found instanceof SimulatedInode)) throw new FileMissingError(`no file ${path}`);
    return found;
  }

  #find(path: string): Entry | null {
    let at: Entry | undefined = this.#root;
    for (const part of path === "" ? [] : path.split("/")) {
      at = at instanceof SimulatedDirectory ? at.visible.get(part) : undefined;
    }
    return at ?? null;
  }

  #parentOf(path: string): { parent: SimulatedDirectory; name: string } {
    const at = path.lastIndexOf("/");
    const parent = this.#find(at < 0 ? "" : path.slice(0, at));
    if (!(parent instanceof SimulatedDirectory)) throw new FileMissingError(`none above ${path}`);
    return { parent, name: path.slice(at + 1) };
  }
}
