// Owns measuring the broker of this process: with the system's clock, its disk and its memory.
// Refuses to own what is measured (measuring.ts). Invariant: the one place where measuring meets the system.
import type { LocalBroker } from "../../actors/local_broker.ts";
import { DEFAULT_API_LIMITS } from "../../api/limits.ts";
import type { Config } from "../config_keys.ts";
import { systemClock, systemTimers } from "../system_ports.ts";
import type { SyncWatch } from "./measured_disk.ts";
import { type Measuring, startMeasuring } from "./measuring.ts";
import { diskFreeBytes, memoryBytes } from "./system_space.ts";

export function measureBroker(
  { dataDir }: Pick<Config, "dataDir">,
  parts: {
    readonly broker: LocalBroker;
    readonly syncs: SyncWatch;
    readonly report: (message: string, error: unknown) => void;
  },
): Measuring {
  return startMeasuring({
    ...parts,
    clock: systemClock,
    timers: systemTimers,
    maxDecompressedBytes: DEFAULT_API_LIMITS.maxDecompressedBytes,
    diskFreeBytes: () => diskFreeBytes(dataDir),
    memoryBytes,
  });
}
