// Owns reading and writing of exact ranges, and the atomic replacement of small files.
// Refuses to own what the files hold and what a failure means.
// Invariant: a replaced file is the old or the new one whole, whenever the process or the machine stops.
import { type Disk, type DiskFile, FileMissingError } from "../ports.ts";
import { TEMPORARY_SUFFIX } from "./file_names.ts";

/** Reads from `position` until `into` is full or the file ends; resolves to the count read. */
export async function readFully(
  file: DiskFile,
  into: Uint8Array,
  position: number,
): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const count = await file.read(done === 0 ? into : into.subarray(done), position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** Writes all of `bytes` from `position`, going on after short writes. Rejects as `DiskFile.write` does. */
export async function writeFully(
  file: DiskFile,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const count = await file.write(done === 0 ? bytes : bytes.subarray(done), position + done);
    if (count <= 0) throw new Error(`a write of ${bytes.length - done} bytes wrote ${count}`);
    done += count;
  }
}

/** The whole file, null when it is missing or longer than `maxBytes`. */
export async function readWhole(
  disk: Disk,
  path: string,
  maxBytes: number,
): Promise<Uint8Array | null> {
  let file: DiskFile;
  try {
    file = await disk.open(path, { create: false });
  } catch (error) {
    if (error instanceof FileMissingError) return null;
    throw error;
  }
  try {
    const size = await file.size();
    if (size > maxBytes) return null;
    const bytes = new Uint8Array(size);
    const count = await readFully(file, bytes, 0);
    return bytes.subarray(0, count);
  } finally {
    await file.close();
  }
}

/**
 * Replaces `directory/name`. `durable`: it is on disk when this resolves; without it a power cut may leave anything
 * under the name, which is for files that carry a checksum and can be made again.
 */
export async function replaceFile(
  disk: Disk,
  at: { directory: string; name: string },
  options: { bytes: Uint8Array; durable: boolean },
): Promise<void> {
  const path = `${at.directory}/${at.name}`;
  const temporary = path + TEMPORARY_SUFFIX;
  try {
    const file = await disk.open(temporary, { create: true });
    try {
      await file.truncate(0);
      await writeFully(file, options.bytes, 0);
      if (options.durable) await file.sync();
    } finally {
      await file.close();
    }
    await disk.rename(temporary, path);
  } catch (error) {
    await disk.remove(temporary).catch(() => undefined);
    throw error;
  }
  if (options.durable) await disk.syncDirectory(at.directory);
}
