// Owns the archive in a directory, on a Disk of its own: another volume, or a network mount.
// Refuses to own what the objects hold, and time limits (guarded_archive.ts).
// Invariant: an object is written beside its place, synced and renamed into it: it is whole and durable, or not there.
import type { ArchivedObject, ArchiveStore } from "../archive.ts";
import type { Disk } from "../ports.ts";
import { TEMPORARY_SUFFIX } from "../file_log/file_names.ts";
import { readWhole, replaceFile } from "../file_log/whole_files.ts";

/** A larger file was not put here by us. */
const MAX_OBJECT_BYTES = 2 ** 31 - 1;
const KEY = /^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*\/)*[A-Za-z0-9_-][A-Za-z0-9._-]*$/;

export class DirectoryArchive implements ArchiveStore {
  constructor(private readonly disk: Disk) {}

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const { directory, name } = placeOf(key);
    if ((await this.disk.list(directory)).length === 0) await this.#make(directory);
    await replaceFile(this.disk, { directory, name }, { bytes, durable: true });
  }

  async get(key: string): Promise<Uint8Array | null> {
    placeOf(key);
    return await readWhole(this.disk, key, MAX_OBJECT_BYTES);
  }

  async remove(key: string): Promise<void> {
    placeOf(key);
    await this.disk.remove(key);
  }

  async list(prefix: string): Promise<readonly ArchivedObject[]> {
    const found: ArchivedObject[] = [];
    const pending = [prefix.replace(/\/$/, "")];
    for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
      for (const name of await this.disk.list(directory)) {
        const path = directory === "" ? name : `${directory}/${name}`;
        if (name.endsWith(TEMPORARY_SUFFIX)) continue;
        // Objects have a suffix, directories are parts of log names and have none.
        if (!name.includes(".")) pending.push(path);
        else found.push({ key: path, sizeBytes: await this.#sizeOf(path) });
      }
    }
    return found.sort((a, b) => a.key < b.key ? -1 : 1);
  }

  /** The names on the way are durable too, or a power cut takes the object with them. */
  async #make(directory: string): Promise<void> {
    await this.disk.makeDirectory(directory);
    const parts = directory.split("/");
    for (let depth = parts.length - 1; depth >= 0; depth--) {
      await this.disk.syncDirectory(parts.slice(0, depth).join("/"));
    }
  }

  async #sizeOf(path: string): Promise<number> {
    const file = await this.disk.open(path, { create: false });
    try {
      return await file.size();
    } finally {
      await file.close();
    }
  }
}

/** Throws a plain Error for what is no key, before it can leave the directory. */
function placeOf(key: string): { directory: string; name: string } {
  if (!KEY.test(key) || !key.includes("/")) throw new Error(`no archive key: ${key.slice(0, 200)}`);
  const at = key.lastIndexOf("/");
  return { directory: key.slice(0, at), name: key.slice(at + 1) };
}
