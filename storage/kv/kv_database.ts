// Owns opening a Deno KV database at an explicit path, and what its failures mean to callers.
// Refuses to own what is stored in it (kv_metadata.ts, kv_log.ts).
// Invariant: a commit that has resolved is durable.
//
// What a commit means after a power cut. Deno KV on a path is SQLite in WAL mode, and syncs at every commit
// (synchronous=FULL): under strace, each `commit()` writes its frames to `<path>-wal` and calls fsync on that file before
// the promise resolves; creation of the database and of its WAL is followed by an fsync of the directory. That was observed
// with Deno 2.9.6 on Linux, and tests/storage_kv_durability_test.ts asserts it again wherever strace is installed. One
// fsync a commit also means that commits do not share syncs: about 0.5 to 2 ms each on a common disk.
// `fsync` of a disk that lies, and SQLite's lack of page checksums, are beyond us: what must detect bit rot (kv_log.ts)
// carries checksums of its own.
import { BrokerError } from "../broker_error.ts";

/**
 * How long an operation is tried anew while another connection holds the database's write lock, and between tries.
 * Deno does not wait for the lock itself: "database is locked" comes at once, and means that nothing has happened.
 * Real time, not a port: what is waited for is a real lock, held for a real fsync.
 */
const LOCK_WAIT_MS = 10_000;
const LOCK_RETRY_MS = 2;

/** Opens the database at `path`; its directory must be there. An empty path would mean Deno's own default place: refused. */
export async function openKvDatabase(path: string): Promise<Deno.Kv> {
  if (path === "") throw new Error("a Deno KV database needs an explicit path");
  return await asStorage(`open the database ${path}`, () => whenUnlocked(() => Deno.openKv(path)));
}

/** Commits; `ok` is false when a check failed. Errors as of `asStorage`. */
export async function commitAtomic(
  action: string,
  operation: Deno.AtomicOperation,
): Promise<Deno.KvCommitResult | Deno.KvCommitError> {
  return await asStorage(action, () => whenUnlocked(() => operation.commit()));
}

async function whenUnlocked<T>(run: () => Promise<T>): Promise<T> {
  const givenUpAt = performance.now() + LOCK_WAIT_MS;
  for (;;) {
    try {
      return await run();
    } catch (error) {
      const locked = /database is locked/.test(String(error));
      if (!locked || performance.now() > givenUpAt) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, LOCK_RETRY_MS * (0.5 + Math.random())));
  }
}

/**
 * What `run` resolves to. What it rejects with becomes a BrokerError: DISK_FULL (SQLite rolled the commit back, nothing was
 * kept), else STORAGE_FAILED (whether a commit happened is unknown).
 */
export async function asStorage<T>(action: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw storageError(action, error);
  }
}

function storageError(action: string, cause: unknown): Error {
  if (cause instanceof BrokerError) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  if (/database or disk is full/i.test(reason)) {
    return new BrokerError("DISK_FULL", `could not ${action}: the disk is full`, {}, { cause });
  }
  return new BrokerError("STORAGE_FAILED", `could not ${action}: ${reason}`, {}, { cause });
}
