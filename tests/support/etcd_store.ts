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

/** Opens a store; what it reports goes to `reports`, or nowhere. */
export async function openOnEtcd(
  options: Partial<EtcdMetadataOptions> & { endpoints: readonly string[]; reports?: EtcdReport[] },
): Promise<EtcdMetadataStore> {
  const { reports, ...more } = options;
  const report = (each: EtcdReport) => void reports?.push(each);
  return await openEtcdMetadata({ prefix: "test", ...etcdPorts, report, ...more });
}
