// Owns measuring how long a disk takes to sync.
// Refuses to own the disk: everything is passed on as it is.
// Invariant: a sync that hangs is seen while it hangs.
import type { Clock, Disk, DiskFile } from "../../storage/ports.ts";
import { LatencyHistogram } from "./latency_histogram.ts";

/** Durations of the syncs of files. */
export class SyncWatch {
  readonly latency = new LatencyHistogram();
  readonly #underWay = new Set<{ readonly sinceMs: number }>();

  constructor(private readonly clock: Pick<Clock, "monotonic">) {}

  async measure(sync: () => Promise<void>): Promise<void> {
    const one = { sinceMs: this.clock.monotonic() };
    this.#underWay.add(one);
    try {
      await sync();
    } finally {
      this.#underWay.delete(one);
      this.latency.observe(this.clock.monotonic() - one.sinceMs);
    }
  }

  /** How long the oldest sync under way has taken; 0 when there is none. */
  oldestMs(): number {
    for (const { sinceMs } of this.#underWay) return this.clock.monotonic() - sinceMs;
    return 0;
  }
}

/** `disk`, whose files' syncs `watch` measures. */
export function measuredDisk(disk: Disk, watch: SyncWatch): Disk {
  return {
    open: async (path, options) => measuredFile(await disk.open(path, options), watch),
    list: (directory) => disk.list(directory),
    makeDirectory: (directory) => disk.makeDirectory(directory),
    remove: (path) => disk.remove(path),
    removeTree: (directory) => disk.removeTree(directory),
    removeEmpty: (directory) => disk.removeEmpty(directory),
    rename: (from, to) => disk.rename(from, to),
    syncDirectory: (directory) => disk.syncDirectory(directory),
  };
}

function measuredFile(file: DiskFile, watch: SyncWatch): DiskFile {
  return {
    read: (into, position) => file.read(into, position),
    write: (bytes, position) => file.write(bytes, position),
    sync: () => watch.measure(() => file.sync()),
    truncate: (size) => file.truncate(size),
    size: () => file.size(),
    close: () => file.close(),
  };
}
