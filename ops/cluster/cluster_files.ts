// Owns reading the PEM files that the configuration of a cluster names.
// Refuses to own what they hold. Invariant: all of them are read before anything of the cluster is touched.
import type { EtcdTls } from "../../storage/etcd/etcd_http.ts";
import { ConfigError } from "../config.ts";
import type { PeerTls } from "../peer/tcp_peers.ts";
import type { ClusterSettings } from "./cluster_settings.ts";

export interface ClusterFiles {
  readonly etcdTls: EtcdTls | null;
  readonly peerTls: PeerTls | null;
}

/** Rejects with ConfigError that names the file. */
export async function readClusterFiles({ etcd, peer }: ClusterSettings): Promise<ClusterFiles> {
  const { ca, cert, key } = etcd.tlsFiles;
  const tls = {
    ...(ca === null ? {} : { caCert: await pem("etcdCaFile", ca) }),
    ...(cert === null ? {} : { cert: await pem("etcdCertFile", cert) }),
    ...(key === null ? {} : { key: await pem("etcdKeyFile", key) }),
  };
  return {
    etcdTls: Object.keys(tls).length === 0 ? null : tls,
    peerTls: peer.tlsFiles === null ? null : {
      cert: await pem("peerTlsCertFile", peer.tlsFiles.cert),
      key: await pem("peerTlsKeyFile", peer.tlsFiles.key),
      ca: await pem("peerTlsCaFile", peer.tlsFiles.ca),
    },
  };
}

async function pem(name: string, path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw new ConfigError(`${name} ${path} cannot be read: ${(error as Error).message}`);
  }
}
