// Owns the configuration keys of a broker that is part of a cluster.
// Refuses to own what has to go together with what (cluster/cluster_settings.ts).
// Invariant: without `etcd` none of them does anything.
import { z } from "zod";
import { count, key, list, secretFile, shown } from "./config_schema.ts";

/** Whoever knows it is a broker of the cluster. */
export const MIN_PEER_SECRET_CHARS = 16;

const endpoint = z.string().transform((text) => /^[a-z]+:\/\//.test(text) ? text : `http://${text}`)
  .refine(isEndpoint, {
    error: ({ input }) =>
      `expected an endpoint such as http://127.0.0.1:2379, received ${shown(input)}`,
  });

/** Nothing but scheme, host and port: a password would stand in every message of it. */
function isEndpoint(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) &&
    [url.origin, `${url.origin}/`].includes(url.href) && url.hostname !== "";
}

export const CLUSTER_KEYS = {
  etcd: key(
    list.pipe(z.array(endpoint)).default([]),
    "endpoints of etcd, comma-separated; with any, this broker is part of a cluster",
  ),
  etcdUser: key(z.string().min(1).optional(), "user of etcd"),
  etcdPassword: key(z.string().min(1).optional(), "its password", true),
  etcdPasswordFile: secretFile("that password"),
  etcdCaFile: key(
    z.string().min(1).optional(),
    "PEM file with the authority that vouches for etcd, for https endpoints",
  ),
  etcdCertFile: key(
    z.string().min(1).optional(),
    "PEM file with the certificate that this broker shows to etcd, where that asks for one",
  ),
  etcdKeyFile: key(z.string().min(1).optional(), "PEM file with its key"),
  cluster: key(
    z.string().regex(/^[A-Za-z0-9._-]{1,64}$/).default("waybill"),
    "name of the cluster, and prefix of all that it keeps in etcd",
  ),
  zone: key(
    z.string().regex(/^[A-Za-z0-9._-]{1,64}$/).optional(),
    "rack or zone of this broker: replicas of a partition are spread over them",
  ),
  advertisedHost: key(
    z.string().min(1).optional(),
    "host that clients are told to reach this broker at, when it is not the one it listens on",
  ),
  advertisedPort: key(count(1, 65535).optional(), "the same for the port"),
  peerHost: key(
    z.string().min(1).optional(),
    "host that other brokers reach this one at; as a rule the one that clients do",
  ),
  peerPort: key(count(0, 65535).default(0), "port for other brokers; 0 picks a free one"),
  peerBindHost: key(
    z.string().min(1).optional(),
    "address to listen on for other brokers, when it is not peerHost",
  ),
  peerSecret: key(
    z.string().min(MIN_PEER_SECRET_CHARS, `must have ${MIN_PEER_SECRET_CHARS} characters at least`)
      .optional(),
    "secret that all brokers of the cluster share, 16 characters at least",
    true,
  ),
  peerSecretFile: secretFile("that secret"),
  peerTlsCertFile: key(
    z.string().min(1).optional(),
    "PEM file with this broker's certificate for other brokers: all they say is encrypted then",
  ),
  peerTlsKeyFile: key(z.string().min(1).optional(), "PEM file with its key"),
  peerTlsCaFile: key(
    z.string().min(1).optional(),
    "PEM file with the authority that vouches for the brokers of the cluster",
  ),
  leaseMs: key(
    count(1_000, 60_000).default(3_000),
    "a broker that etcd has not heard for so long is taken for gone, and others lead",
  ),
  replicaLagMaxMs: key(
    count(500, 600_000).default(10_000),
    "a replica that is behind for longer leaves the in-sync set",
  ),
};

export const CLUSTER_SECRET_FILES = {
  etcdPasswordFile: "etcdPassword",
  peerSecretFile: "peerSecret",
} as const;
