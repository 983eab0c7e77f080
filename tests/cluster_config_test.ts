// Owns proof that a broker of a cluster is configured as promised, and refused with a clear word when something is missing.
import assert from "node:assert/strict";
import { clusterSettingsOf } from "../ops/cluster/cluster_settings.ts";
import type { Config } from "../ops/config_keys.ts";
import { ConfigError, readConfig } from "../ops/config.ts";

const SECRET = "0123456789abcdef";
const NEEDED = {
  WAYBILL_ETCD: "http://10.0.0.1:2379, 10.0.0.2:2379",
  WAYBILL_NODE_ID: "a",
  WAYBILL_PEER_SECRET: SECRET,
};

function read(environment: Record<string, string>, files: Record<string, string> = {}): Config {
  const readFile = (path: string) => files[path]!;
  return readConfig({ args: [], environment, readFile }) as Config;
}

Deno.test("a broker without etcd is alone, whatever else of a cluster is configured", () => {
  assert.equal(clusterSettingsOf(read({ WAYBILL_PEER_SECRET: SECRET, WAYBILL_ZONE: "z" })), null);
});

Deno.test("endpoints of etcd, an id and a secret make a broker part of a cluster, with the contract's defaults", () => {
  assert.deepEqual(clusterSettingsOf(read(NEEDED)), {
    name: "waybill",
    nodeId: "a",
    zone: null,
    leaseMs: 3_000,
    replicaLagMaxMs: 10_000,
    etcd: {
      endpoints: ["http://10.0.0.1:2379", "http://10.0.0.2:2379"],
      user: null,
      password: null,
      tlsFiles: { ca: null, cert: null, key: null },
    },
    peer: { host: "127.0.0.1", bindHost: "127.0.0.1", port: 0, secret: SECRET, tlsFiles: null },
    advertised: { host: "127.0.0.1", port: null },
  });
});

Deno.test("a broker is reached by clients and by other brokers where it is told to say so", () => {
  const files = { "/run/peer": `${SECRET}\n` };
  const { WAYBILL_PEER_SECRET: _, ...needed } = NEEDED;
  const settings = clusterSettingsOf(read({
    ...needed,
    WAYBILL_PEER_SECRET_FILE: "/run/peer",
    WAYBILL_HOST: "0.0.0.0",
    WAYBILL_ADVERTISED_HOST: "a.example.com",
    WAYBILL_ADVERTISED_PORT: "80",
    WAYBILL_PEER_BIND_HOST: "0.0.0.0",
    WAYBILL_PEER_PORT: "7000",
    WAYBILL_ZONE: "z1",
  }, files))!;
  assert.deepEqual(settings.advertised, { host: "a.example.com", port: 80 });
  const { host, bindHost, port, secret } = settings.peer;
  assert.deepEqual([host, bindHost, port, secret], ["a.example.com", "0.0.0.0", 7000, SECRET]);
  assert.equal(settings.zone, "z1");
});

const REFUSED: [string, Record<string, string>, RegExp][] = [
  ["no id of its own", { WAYBILL_NODE_ID: "" }, /needs an id of its own: set nodeId/],
  ["no secret", { WAYBILL_PEER_SECRET: "" }, /set peerSecret/],
  ["a short secret", { WAYBILL_PEER_SECRET: "short" }, /PEER_SECRET.*16 characters/s],
  ["an endpoint with a password", { WAYBILL_ETCD: "http://root:secret@etcd:2379" }, /an endpoint/],
  ["an endpoint that is none", { WAYBILL_ETCD: "ftp://etcd" }, /an endpoint such as/],
  ["a user of etcd without password", { WAYBILL_ETCD_USER: "root" }, /etcdUser and etcdPassword/],
  ["half of the TLS files", { WAYBILL_PEER_TLS_CERT_FILE: "x" }, /peerTlsCertFile.*go together/],
  ["a host that no peer can reach", { WAYBILL_HOST: "0.0.0.0" }, /set peerHost/],
  [
    "a host that no client can reach",
    { WAYBILL_HOST: "::", WAYBILL_PEER_HOST: "10.0.0.3" },
    /set advertisedHost/,
  ],
];
for (const [name, more, message] of REFUSED) {
  Deno.test(`configuration of a cluster refuses ${name}, and shows no secret`, () => {
    assert.throws(() => read({ ...NEEDED, ...more }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, message);
      assert.ok(!error.message.includes(SECRET) && !error.message.includes("root:secret"));
      return true;
    });
  });
}
