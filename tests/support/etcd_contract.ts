// Owns running the contract of metadata stores over a real etcd of some members.
// Refuses to own the sentences (contracts/). Invariant: one etcd for all of them, a name of its own for each.
import { metadataContract } from "../contracts/metadata_contract.ts";
import { type EtcdCluster, startEtcd } from "./etcd_process.ts";
import { openOnEtcd } from "./etcd_store.ts";
import { RealClock } from "./real_clock.ts";

/** Real seconds: etcd's shortest lease is 2 s. */
const LEASES = { ttlMs: 3_000, renewals: 3 };

export function etcdContract(name: string, memberCount: number): void {
  let cluster: EtcdCluster;
  let opened = 0;
  Deno.test.beforeAll(async () => {
    cluster = await startEtcd(memberCount);
  });
  Deno.test.afterAll(async () => await cluster[Symbol.asyncDispose]());
  metadataContract(name, async () => {
    const prefix = `contract ${++opened}`;
    const { endpoints } = cluster;
    const connect = () => openOnEtcd({ endpoints, prefix });
    const dispose = () => Promise.resolve();
    return { store: await connect(), clock: new RealClock(), connect, dispose, leases: LEASES };
  });
}
