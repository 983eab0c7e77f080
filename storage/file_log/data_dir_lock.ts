// Owns the exclusive lock of a data directory: one process, one broker on it.
// Refuses to judge by what the file says: the operating system's lock decides, so a lock dies with its process, even with
// kill -9, and a stale file is in nobody's way. The file is never removed: that would let two hold "the" lock.
// Invariant: while a lock is held, no other open of the same file gets it, in this process or another.
import { join } from "node:path";

const LOCK_FILE = "waybill.lock";
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

/** What the file says of whoever holds the lock. */
interface Holder {
  readonly pid: number;
  /** Wall time, RFC 3339. */
  readonly startedAt: string;
}

/** A lock that is held until `release`, or until the process ends. */
export interface DataDirLock {
  /** Calling it again does nothing. */
  release(): void;
}

/** The data directory is in use; the message names the process that holds it, as far as that is known. */
export class DataDirInUseError extends Error {
  override name = "DataDirInUseError";

  constructor(readonly directory: string, readonly pid: number | null, startedAt: string | null) {
    const holder = pid === null ? "another process" : `process ${pid}, running since ${startedAt}`;
    super(`data directory ${directory} is in use by ${holder}: stop it, or use another directory`);
  }
}

/**
 * Locks `directory`, which is made when it is not there; `now` is wall time in ms, for the file. Rejects with
 * DataDirInUseError when it is locked already, and with the system's error when it cannot be written.
 */
export async function lockDataDir(
  directory: string,
  options: { now: number },
): Promise<DataDirLock> {
  await Deno.mkdir(directory, { recursive: true, mode: DIRECTORY_MODE });
  const path = join(directory, LOCK_FILE);
  const file = await Deno.open(path, { read: true, write: true, create: true, mode: FILE_MODE });
  try {
    if (!await file.tryLock(true)) {
      const holder = await readHolder(path);
      throw new DataDirInUseError(directory, holder?.pid ?? null, holder?.startedAt ?? null);
    }
    await writeHolder(file, { pid: Deno.pid, startedAt: new Date(options.now).toISOString() });
  } catch (error) {
    file.close();
    throw error;
  }
  let held = true;
  return {
    release() {
      if (held) file.close();
      held = false;
    },
  };
}

async function writeHolder(file: Deno.FsFile, holder: Holder): Promise<void> {
  const text = new TextEncoder().encode(`${JSON.stringify(holder)}\n`);
  await file.truncate(0);
  for (let done = 0; done < text.length;) done += await file.write(text.subarray(done));
}

/** Null when it cannot be told: the holder has the lock and has not written yet, or the system refuses. */
async function readHolder(path: string): Promise<Holder | null> {
  try {
    const { pid, startedAt } = JSON.parse(await Deno.readTextFile(path));
    return Number.isInteger(pid) && typeof startedAt === "string" ? { pid, startedAt } : null;
  } catch {
    return null;
  }
}
