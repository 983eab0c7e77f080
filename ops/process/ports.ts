// Owns what the process of a broker reaches of its machine: time, timers, chance and the disk of its data, as one value.
// Refuses to own the ports' meaning (storage/ports.ts) and who uses them (start.ts).
// Invariant: a broker that is handed other ones has no other way to the clock or to its data.
import { DenoDisk } from "../../storage/file_log/deno_disk.ts";
import type { WriteThread } from "../../storage/file_log/write_thread.ts";
import type { Clock, Disk, Randomness, Timers } from "../../storage/ports.ts";
import { diskFreeBytes } from "../measurement/system_space.ts";
import { systemClock, systemRandomness, systemTimers } from "../system_ports.ts";

/** Threads that prepare large publish requests read the system's clock: with another one, configure `publishThreads: 0`. */
export interface ProcessPorts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly randomness: Randomness;
  /** The disk below `root`, for logs and snapshots; large writes go through `writes`. */
  disk(root: string, writes: WriteThread): Disk;
  /** What may be used of the file system that holds `directory`; null where the system does not tell. */
  diskFreeBytes(directory: string): Promise<number | null>;
}

export const systemPorts: ProcessPorts = {
  clock: systemClock,
  timers: systemTimers,
  randomness: systemRandomness,
  disk: (root, writes) => new DenoDisk(root, writes),
  diskFreeBytes,
};
