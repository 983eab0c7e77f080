// Owns the contract of metadata stores over one real etcd.
import { etcdContract } from "./support/etcd_contract.ts";
import { ETCD_NEEDED, hasEtcd } from "./support/etcd_process.ts";
import { requireOrSkip } from "./support/system_needs.ts";

if (!requireOrSkip("etcd", await hasEtcd(), ETCD_NEEDED)) etcdContract("etcd metadata", 1);
