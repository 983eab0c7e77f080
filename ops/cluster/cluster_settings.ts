// Owns what the configuration of a broker in a cluster has to say together, and that as settings.
// Refuses to own the form of each key (../cluster_keys.ts) and what is done with them (../process/).
// Invariant: pure; a configuration that passes is enough to join a cluster.
import type { Config, ConfigKey } from "../config_keys.ts";

/** Reached from everywhere, but by no name. */
const ANY_HOST = /^(?:0\.0\.0\.0|\[?::\]?|)$/;

export interface ClusterSettings {
  readonly name: string;
  readonly nodeId: string;
  readonly zone: string | null;
  readonly leaseMs: number;
  readonly replicaLagMaxMs: number;
  readonly etcd: {
    readonly endpoints: readonly string[];
    readonly user: string | null;
    readonly password: string | null;
    readonly tlsFiles: {
      readonly ca: string | null;
      /** Both or none. */
      readonly cert: string | null;
      readonly key: string | null;
    };
  };
  readonly peer: {
    /** Where others reach it. */
    readonly host: string;
    /** Where it listens. */
    readonly bindHost: string;
    readonly port: number;
    readonly secret: string;
    readonly tlsFiles: {
      readonly cert: string;
      readonly key: string;
      readonly ca: string;
    } | null;
  };
  /** Where clients reach it; the port is the one it listens on when null. */
  readonly advertised: { readonly host: string; readonly port: number | null };
}

/**
 * What is wrong with the keys of a cluster taken together, null: nothing. `given` are those that were set anywhere, to
 * tell a default from what somebody chose.
 */
export function clusterProblem(config: Config, given: ReadonlySet<ConfigKey>): string | null {
  if (config.etcd.length === 0) return null;
  if (!given.has("nodeId")) {
    return "etcd is set, so this broker is part of a cluster and needs an id of its own: set nodeId";
  }
  if (config.peerSecret === undefined) {
    return "etcd is set, so this broker is part of a cluster: set peerSecret (or peerSecretFile), the same on all its brokers";
  }
  const tls = [config.peerTlsCertFile, config.peerTlsKeyFile, config.peerTlsCaFile];
  if (tls.includes(undefined) && tls.some((file) => file !== undefined)) {
    return "peerTlsCertFile, peerTlsKeyFile and peerTlsCaFile go together: set all of them, or none";
  }
  if ((config.etcdUser === undefined) !== (config.etcdPassword === undefined)) {
    return "etcdUser and etcdPassword go together: set both, or none";
  }
  if ((config.etcdCertFile === undefined) !== (config.etcdKeyFile === undefined)) {
    return "etcdCertFile and etcdKeyFile go together: set both, or none";
  }
  if (ANY_HOST.test(peerHostOf(config))) {
    return `other brokers cannot reach this one at ${peerHostOf(config)}: set peerHost`;
  }
  if (ANY_HOST.test(config.advertisedHost ?? config.host)) {
    return `clients cannot reach this broker at ${config.host}: set advertisedHost`;
  }
  return null;
}

/** Null when the broker is alone. The configuration has passed `clusterProblem`. */
export function clusterSettingsOf(config: Config): ClusterSettings | null {
  if (config.etcd.length === 0) return null;
  const { peerTlsCertFile: cert, peerTlsKeyFile: key, peerTlsCaFile: ca } = config;
  const hasTls = cert !== undefined && key !== undefined && ca !== undefined;
  return {
    name: config.cluster,
    nodeId: config.nodeId,
    zone: config.zone ?? null,
    leaseMs: config.leaseMs,
    replicaLagMaxMs: config.replicaLagMaxMs,
    etcd: {
      endpoints: config.etcd,
      user: config.etcdUser ?? null,
      password: config.etcdPassword ?? null,
      tlsFiles: {
        ca: config.etcdCaFile ?? null,
        cert: config.etcdCertFile ?? null,
        key: config.etcdKeyFile ?? null,
      },
    },
    peer: {
      host: peerHostOf(config),
      bindHost: config.peerBindHost ?? peerHostOf(config),
      port: config.peerPort,
      secret: config.peerSecret!,
      tlsFiles: hasTls ? { cert, key, ca } : null,
    },
    advertised: {
      host: config.advertisedHost ?? config.host,
      port: config.advertisedPort ?? null,
    },
  };
}

function peerHostOf({ peerHost, advertisedHost, host }: Config): string {
  return peerHost ?? advertisedHost ?? host;
}
