// Owns opening stores on an etcd of a test.
// Refuses to own etcd (etcd_process.ts). Invariant: real time and chance; each name is its own cluster.
import { systemClock, systemRandomness, systemTimers } from "../../ops/system_ports.ts";
import type { EtcdReport } from "../../storage/etcd/etcd_requests.ts";
import {
  type EtcdMetadataOptions,
  type EtcdMetadataStore,
  openEtcdMetadata,
} from "../../storage/etcd/etcd_metadata.ts";

export const etcdPorts = {
  clock: systemClock,
  timers: systemTimers,
  randomness: systemRandomness,
};

/** How many times shorter waits are with `hastyPorts`. */
const HASTE = 10;

/** All of a store's waits at a tenth, so that its longest are over in a test. */
export const hastyPorts = {
  clock: { now: () => systemClock.now(), monotonic: () => systemClock.monotonic() * HASTE },
  timers: {
    after: (delayMs: number, run: () => void) => systemTimers.after(delayMs / HASTE, run),
  },
  randomness: systemRandomness,
};

/** Opens a store that a test's end closes; what it reports goes to `reports`, or nowhere. */
export async function openOnEtcd(
  options: Partial<EtcdMetadataOptions> & { endpoints: readonly string[]; reports?: EtcdReport[] },
): Promise<EtcdMetadataStore & AsyncDisposable> {
  const { reports, ...more } = options;
  const report = (each: EtcdReport) => void reports?.push(each);
  const store = await openEtcdMetadata({ prefix: "test", ...etcdPorts, report, ...more });
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}
