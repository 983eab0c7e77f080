// Owns how the cipher of a log comes about when the log is opened: its key ring, and the refusals.
// Refuses to own keys and sealing. Invariant: it changes nothing on disk; a log whose keys cannot be had is refused before
// anything of it was looked at, so that recovery neither cuts nor finishes anything of a log that nobody can read.
import { baseOffsetOf, swapRangeOf } from "../file_log/file_names.ts";
import { corruptLog } from "../file_log/log_faults.ts";
import type { Disk } from "../ports.ts";
import { KeyRing, type RingAccess } from "./key_ring.ts";
import { LogCipher } from "./log_cipher.ts";
import { masterKeyMissing } from "./master_keys.ts";

/**
 * The cipher of the log in `directory`. ENCRYPTION_KEY_UNAVAILABLE when there is no master key (`access` is null) or not the
 * right one; CORRUPT_LOG when the log holds something and the file of its keys is missing or damaged.
 */
export async function openCipher(access: RingAccess | null, directory: string): Promise<LogCipher> {
  if (access === null) throw masterKeyMissing(directory, []);
  const { disk, crc32c, masterKeys: { aead } } = access;
  const kept = await KeyRing.load(access, directory);
  if (typeof kept === "string") await refuseUnlessEmpty(disk, directory, kept);
  const ring = typeof kept === "string" ? KeyRing.empty(access, directory) : kept;
  ring.requireMasterKeys();
  return new LogCipher(ring, { aead, crc32c });
}

/** A log gets its first key right before its first byte. */
async function refuseUnlessEmpty(
  disk: Disk,
  directory: string,
  kept: "none" | "damaged",
): Promise<void> {
  for (const name of await disk.list(directory)) {
    const base = baseOffsetOf(name) ?? swapRangeOf(name)?.baseOffset;
    if (base === undefined) continue;
    const file = await disk.open(`${directory}/${name}`, { create: false });
    const sizeBytes = await file.size().finally(() => file.close());
    if (sizeBytes === 0) continue;
    const reason = `the file of its data keys is ${kept === "none" ? "missing" : "damaged"}`;
    throw corruptLog(directory, { offset: base, segmentBase: base, position: 0, reason });
  }
}
