// Owns telling an archive from a place that is not it: a mount point without its volume, an emptied or another bucket.
// Refuses to own what is in it, and time limits (guarded_archive.ts).
// Invariant: once the archive has been written to, nothing is put, removed or listed where its mark is not found: what
// was put into the wrong place would be dropped here, and a listing of it would say that there is nothing.
import type { ArchivedObject, ArchiveStore } from "../archive.ts";
import { readWhole, replaceFile } from "../file_log/whole_files.ts";
import { type Disk, DiskFullError } from "../ports.ts";

/** Lies in the archive from the first object on. */
export const ARCHIVE_MARK = "waybill/archive.mark";
/** Lies on the local disk from then on. No valid name of a log. */
const KNOWN = { directory: "archive", name: "known.mark" };
export const ARCHIVE_KNOWN_FILE = `${KNOWN.directory}/${KNOWN.name}`;
const MAX_KNOWN_BYTES = 1_024;

/** `archive`, with calls refused while it is not the one that was written to. `disk`: where it is kept that there is one. */
export class MarkedArchive implements ArchiveStore {
  #isKnown = false;
  #marking: Promise<void> | null = null;

  constructor(private readonly archive: ArchiveStore, private readonly disk: Disk) {}

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await (this.#marking ??= this.#mark().finally(() => this.#marking = null));
    await this.archive.put(key, bytes);
  }

  get(key: string): Promise<Uint8Array | null> {
    return this.archive.get(key);
  }

  async remove(key: string): Promise<void> {
    await this.#check();
    await this.archive.remove(key);
  }

  async list(prefix: string): Promise<readonly ArchivedObject[]> {
    await this.#check();
    return await this.archive.list(prefix);
  }

  async #check(): Promise<boolean> {
    if (await this.archive.get(ARCHIVE_MARK) !== null) return true;
    if (!await this.#isWritten()) return false;
    throw new Error(
      `the archive has no ${ARCHIVE_MARK}, and was written to before: is it the right one, and mounted? ` +
        `To begin a new one, remove ${ARCHIVE_KNOWN_FILE} from the data directory and start again`,
    );
  }

  async #mark(): Promise<void> {
    if (!await this.#check()) {
      await this.archive.put(
        ARCHIVE_MARK,
        new TextEncoder().encode("archive of a Waybill broker\n"),
      );
    }
    if (await this.#isWritten()) return;
    await this.#note().catch((error) => {
      // Archiving is what makes room: it is noted at a later put.
      if (!(error instanceof DiskFullError)) throw error;
    });
  }

  async #note(): Promise<void> {
    await this.disk.makeDirectory(KNOWN.directory);
    await replaceFile(this.disk, KNOWN, { bytes: new Uint8Array(0), durable: true });
    await this.disk.syncDirectory("");
  }

  async #isWritten(): Promise<boolean> {
    if (this.#isKnown) return true;
    this.#isKnown = await readWhole(this.disk, ARCHIVE_KNOWN_FILE, MAX_KNOWN_BYTES) !== null;
    return this.#isKnown;
  }
}
