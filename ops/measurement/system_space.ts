// Owns asking the system for disk space and memory.
// Refuses to own what is done about them. Invariant: a disk that does not answer holds nobody up.
import { statfs } from "node:fs/promises";

/** What a process may use of the file system that holds `directory`, bytes; null where the system does not tell. */
export async function diskFreeBytes(directory: string): Promise<number | null> {
  try {
    const { bavail, bsize } = await statfs(directory);
    return bavail * bsize;
  } catch (error) {
    // The permission is asked for at the start, where its lack is told.
    if (error instanceof Deno.errors.NotCapable) throw error;
    return null;
  }
}

/** Resident memory of this process, bytes. */
export function memoryBytes(): number {
  return Deno.memoryUsage().rss;
}
