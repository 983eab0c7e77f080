// Owns snapshots as files: one a snapshot, replaced atomically, with a checksum over all of it.
// Refuses to repair: what does not verify is as good as none, and is left for the next save to replace.
// Invariant: what `load` returns is what one `save` under that very id was given, whole.
import { BrokerError } from "../broker_error.ts";
import { checkPathName } from "../path_name.ts";
import { type Crc32c, type Disk, DiskFullError, FileMissingError } from "../ports.ts";
import type { Snapshot, SnapshotStore } from "../snapshots.ts";
import { readWhole, replaceFile } from "./whole_files.ts";

/** Larger snapshots are refused: they are read and written whole. */
export const MAX_SNAPSHOT_BYTES = 256 * 1024 * 1024;
/** Directories whose making is remembered; beyond that they are made and synced anew, which does no harm. */
const MAX_KNOWN_DIRECTORIES = 10_000;

/** "WBS1": what a file starts with, and its layout's version. */
const MAGIC = 0x57425331;
// MAGIC, CRC-32C of all after it, version, length of the id in bytes, next offset; then the id and the bytes.
const AT_CRC = 4;
const AT_CHECKED = 8;
const AT_VERSION = 8;
const AT_ID_LENGTH = 12;
const AT_NEXT_OFFSET = 16;
const HEADER_BYTES = 24;

/** A dot is in no id, so that no snapshot is in the way of another's directory. */
const SUFFIX = ".snapshot";

export interface FileSnapshotPorts {
  readonly disk: Disk;
  readonly crc32c: Crc32c;
}

/** Snapshots below `directory` of a disk. `save` rejects with DISK_FULL or STORAGE_FAILED; the older one then stays. */
export class FileSnapshotStore implements SnapshotStore {
  readonly #known = new Set<string>();
  /** What is being written, by id: two at once would share a temporary file. */
  readonly #writing = new Map<string, Promise<void>>();

  constructor(private readonly directory: string, private readonly ports: FileSnapshotPorts) {}

  async load(id: string): Promise<Snapshot | null> {
    const { directory, name } = this.#place(id);
    const maxBytes = HEADER_BYTES + id.length + MAX_SNAPSHOT_BYTES;
    // Whatever keeps it from being read, it is as good as none.
    const bytes = await readWhole(this.ports.disk, `${directory}/${name}`, maxBytes)
      .catch(() => null);
    return bytes === null ? null : decode(id, bytes, this.ports.crc32c);
  }

  async save(id: string, snapshot: Snapshot): Promise<void> {
    const { directory, name } = this.#place(id);
    const bytes = encode(id, snapshot, this.ports.crc32c);
    await this.#inTurn(id, async () => {
      await this.#makeDirectory(directory);
      await replaceFile(this.ports.disk, { directory, name }, { bytes, durable: true });
    });
  }

  async remove(id: string): Promise<void> {
    const { directory, name } = this.#place(id);
    await this.#inTurn(id, async () => {
      await this.ports.disk.remove(`${directory}/${name}`);
      await this.ports.disk.syncDirectory(directory).catch(ignoreMissing);
    });
  }

  #place(id: string): { directory: string; name: string } {
    checkPathName(id);
    const path = `${this.directory}/${id}${SUFFIX}`;
    const at = path.lastIndexOf("/");
    return { directory: path.slice(0, at), name: path.slice(at + 1) };
  }

  /** Makes `directory` and everything above it durable, once. */
  async #makeDirectory(directory: string): Promise<void> {
    if (this.#known.has(directory)) return;
    const { disk } = this.ports;
    await disk.makeDirectory(directory);
    const parts = directory.split("/");
    for (let depth = parts.length - 1; depth >= 0; depth--) {
      await disk.syncDirectory(parts.slice(0, depth).join("/"));
    }
    if (this.#known.size < MAX_KNOWN_DIRECTORIES) this.#known.add(directory);
  }

  async #inTurn(id: string, run: () => Promise<void>): Promise<void> {
    const before = this.#writing.get(id) ?? Promise.resolve();
    const turn = before.then(run, run).catch((error) => {
      throw storageError(id, error);
    });
    this.#writing.set(id, turn);
    try {
      await turn;
    } finally {
      if (this.#writing.get(id) === turn) this.#writing.delete(id);
    }
  }
}

function encode(id: string, snapshot: Snapshot, crc32c: Crc32c): Uint8Array {
  const { version, nextOffset, bytes } = snapshot;
  if (bytes.length > MAX_SNAPSHOT_BYTES) {
    throw new Error(`snapshot ${id} is ${bytes.length} bytes, at most ${MAX_SNAPSHOT_BYTES}`);
  }
  if (!Number.isInteger(version) || version < 0 || version >= 2 ** 32) {
    throw new Error(`not a snapshot version: ${version}`);
  }
  if (!Number.isSafeInteger(nextOffset) || nextOffset < 0) {
    throw new Error(`not an offset: ${nextOffset}`);
  }
  const idBytes = new TextEncoder().encode(id);
  const file = new Uint8Array(HEADER_BYTES + idBytes.length + bytes.length);
  const view = new DataView(file.buffer);
  view.setUint32(0, MAGIC);
  view.setUint32(AT_VERSION, version);
  view.setUint32(AT_ID_LENGTH, idBytes.length);
  view.setBigUint64(AT_NEXT_OFFSET, BigInt(nextOffset));
  file.set(idBytes, HEADER_BYTES);
  file.set(bytes, HEADER_BYTES + idBytes.length);
  view.setUint32(AT_CRC, crc32c(file.subarray(AT_CHECKED)));
  return file;
}

function decode(id: string, file: Uint8Array, crc32c: Crc32c): Snapshot | null {
  if (file.length < HEADER_BYTES) return null;
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint32(0) !== MAGIC) return null;
  if (view.getUint32(AT_CRC) !== crc32c(file.subarray(AT_CHECKED))) return null;
  const end = HEADER_BYTES + view.getUint32(AT_ID_LENGTH);
  // A file under another's name is whole, and still not this snapshot.
  if (new TextDecoder().decode(file.subarray(HEADER_BYTES, end)) !== id) return null;
  return {
    version: view.getUint32(AT_VERSION),
    nextOffset: Number(view.getBigUint64(AT_NEXT_OFFSET)),
    bytes: file.subarray(end),
  };
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof FileMissingError)) throw error;
}

function storageError(id: string, cause: unknown): BrokerError {
  const code = cause instanceof DiskFullError ? "DISK_FULL" : "STORAGE_FAILED";
  return new BrokerError(code, `could not write snapshot ${id}: ${cause}`, {}, { cause });
}
