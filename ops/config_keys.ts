// Owns the list of configuration keys: name, type, bounds, default, meaning.
// Refuses to own where values come from (config.ts) or what is done with them (main.ts).
// Invariant: every key exists as flag, environment variable and file key; their names follow from the one name here.
import { z } from "zod";
import { ISSUER_ALGORITHMS } from "../api/auth/algorithms.ts";
import { CLUSTER_KEYS, CLUSTER_SECRET_FILES } from "./cluster_keys.ts";
import { count, flag, key, list, secretFile, shown } from "./config_schema.ts";
import { RUNBOOK_CAPS } from "./runbooks/cap.ts";

const megabyte = 1024 * 1024;

const origin = z.string().refine(isOrigin, {
  error: ({ input }) =>
    `expected an origin such as https://console.example.com, received ${shown(input)}`,
});

/** As browsers send it: scheme, host and, unless it is the scheme's own, port. */
function isOrigin(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) && url.origin === text;
}

/** `camelCase` names; flag `--camel-case`, environment `WAYBILL_CAMEL_CASE`, file `camelCase:`. */
export const CONFIG_KEYS = {
  host: key(z.string().min(1).default("127.0.0.1"), "address to listen on"),
  port: key(count(0, 65535).default(8080), "port to listen on; 0 picks a free one"),
  tlsCertFile: key(
    z.string().min(1).optional(),
    "PEM file with the certificate and those that vouch for it: https and wss instead of http and ws",
  ),
  tlsKeyFile: key(
    z.string().min(1).optional(),
    "PEM file with its key; both are read again when they change",
  ),
  maxConnections: key(
    count(16, 1_000_000).default(20_000),
    "connections at once, but no more than half of the files this process may open; beyond it those without a request go first",
  ),
  maxConnectionsPerAddress: key(
    count(1, 1_000_000).default(4_096),
    "the same for one address, or one /64 network of IPv6",
  ),
  headerTimeoutMs: key(
    count(100, 600_000).default(15_000),
    "longest time from the first byte of a request, or from connecting, to the end of its header",
  ),
  bodyTimeoutMs: key(
    count(100, 600_000).default(30_000),
    "longest time for a request's body, beside a second for each 16 KiB of it",
  ),
  idleTimeoutMs: key(
    count(1_000, 3_600_000).default(120_000),
    "connections without a request are closed after this; after 5 s when three quarters of all are taken",
  ),
  dataDir: key(
    z.string().min(1).default("./data"),
    "directory for logs and metadata; made when missing",
  ),
  adminToken: key(
    z.string().regex(/^\S+$/, "must have no spaces").optional(),
    "bearer token of the administrator, 16 characters at least are advised",
    true,
  ),
  adminTokenFile: secretFile("that token"),
  jwtSecret: key(
    z.string().min(32, "must have 32 characters at least").optional(),
    "secret that signs JWTs (HS256), 32 characters at least",
    true,
  ),
  jwtSecretFile: secretFile("that secret"),
  jwtJwksUrl: key(
    z.string().min(1).optional(),
    "where the public keys of the JWTs' issuer are (JWKS), instead of a secret",
  ),
  jwtIssuer: key(
    z.string().min(1).optional(),
    "iss that a JWT must have; needed with jwtJwksUrl",
  ),
  jwtAudience: key(
    z.string().min(1).optional(),
    "aud that a JWT must have; needed with jwtJwksUrl",
  ),
  jwtAlgorithms: key(
    list.pipe(z.array(z.enum(ISSUER_ALGORITHMS)).min(1)).default(["RS256", "ES256"]),
    `algorithms that the issuer may sign with, comma-separated: ${ISSUER_ALGORITHMS.join(", ")}`,
  ),
  jwtClockSkewSeconds: key(
    count(0, 300).default(30),
    "how far the clock of whoever signs JWTs may be off",
  ),
  jwtMaxLifeHours: key(
    count(1, 876_000).default(8_760),
    "how far ahead the exp of a JWT may be: it cannot be revoked before",
  ),
  jwtTenantClaim: key(z.string().min(1).default("tenant"), "claim of a JWT that names the tenant"),
  logLevel: key(
    z.enum(["trace", "debug", "info", "warning", "error"]).default("info"),
    "least level logged: trace, debug, info, warning or error",
  ),
  logFormat: key(
    z.enum(["text", "json"]).default("text"),
    "form of the log on standard error: text or json",
  ),
  insecure: key(
    flag.default(false),
    "serve a non-loopback address although no credential is configured",
  ),
  allowedOrigins: key(
    list.pipe(z.array(origin)).default([]),
    "browser origins besides the broker's own, comma-separated",
  ),
  nodeId: key(
    z.string().regex(/^[A-Za-z0-9._-]{1,64}$/).default("1"),
    "this broker's id in answers; in a cluster each broker has its own, and keeps it",
  ),
  ...CLUSTER_KEYS,
  maxBodyBytes: key(count(1024, 64 * megabyte).default(16 * megabyte), "largest request body"),
  maxPendingPublishBytes: key(
    count(megabyte, 16_384 * megabyte).default(128 * megabyte),
    "publishes in memory that are not yet written, in all; beyond it 503 OVERLOADED",
  ),
  publishThreads: key(
    count(0, 16).optional(),
    "threads that prepare large publishes; as a rule one less than there are cores, at most 4",
  ),
  tailCacheBytes: key(
    count(0, 16_384 * megabyte).default(64 * megabyte),
    "newest record batches kept in memory for consumers at the tail, in all",
  ),
  drainMs: key(
    count(0, 600_000).default(20_000),
    "longest wait, when stopping, for requests under way",
  ),
  retentionIntervalMs: key(
    count(1000, 86_400_000).default(60_000),
    "time between two retention runs",
  ),
  auditRetentionDays: key(
    count(0, 36_500).default(0),
    "how long audit entries are kept at least; 0 keeps them for ever",
  ),
  auditVerifyMinutes: key(
    count(0, 10_080).default(60),
    "time between two looks whether the audit log is intact, for the alert audit-broken; each reads all of it; 0: never",
  ),
  runbookMode: key(
    z.enum(RUNBOOK_CAPS).default("auto"),
    "how far runbooks that alerts start may go at most: off (none is started), observe, approve or auto (as each threshold says); what an operator starts goes as far as the operator says",
  ),
  alertWebhooks: key(
    list.default([]),
    "URLs that alerts are told at, comma-separated; https, or an address as it stands there",
  ),
  alertEscalationWebhooks: key(
    list.default([]),
    "URLs that are told only of alerts that nobody acknowledges in time",
  ),
  alertWebhookSecret: key(
    z.string().min(16, "must have 16 characters at least").optional(),
    "signs what webhooks are told: whsec_ and base64, or any text of 16 characters at least",
    true,
  ),
  alertWebhookSecretFile: secretFile("that secret"),
  outgoingHosts: key(
    list.default([]),
    "hosts, addresses and networks that webhooks may reach besides their own, comma-separated: a private one needs its address",
  ),
  archiveDir: key(
    z.string().min(1).optional(),
    "directory that topics with archive: true are archived to; made when missing",
  ),
  archiveS3Endpoint: key(
    z.string().min(1).optional(),
    "S3-compatible service to archive to, without bucket, instead of a directory",
  ),
  archiveS3Bucket: key(z.string().regex(/^[A-Za-z0-9._-]{1,255}$/).optional(), "its bucket"),
  archiveS3Region: key(z.string().min(1).default("auto"), "its region"),
  archiveS3AccessKeyId: key(z.string().min(1).optional(), "access key of the bucket"),
  archiveS3SecretAccessKey: key(z.string().min(1).optional(), "secret of that key", true),
  archiveS3SecretAccessKeyFile: secretFile("that secret"),
  archiveS3Prefix: key(
    z.string().regex(/^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*\/)*[A-Za-z0-9_-][A-Za-z0-9._-]*$/).or(
      z.literal(""),
    ).default("waybill"),
    "goes before every key in the bucket",
  ),
  archiveCacheBytes: key(
    count(0, 16_384 * megabyte).default(64 * megabyte),
    "archived objects kept in memory for readers, in all",
  ),
  encryptionKeyFile: key(
    z.string().min(1).optional(),
    "file with the keys of encryption at rest, a line each: 32 bytes as base64 or hexadecimal; the first one wraps",
  ),
  encryptionKey: key(
    z.string().min(1).optional(),
    "such a key instead of a file, or several, comma-separated",
    true,
  ),
  encryptInternalTopics: key(
    flag.default(false),
    "make the internal topics encrypted; those that exist stay as they are",
  ),
  messageKeyHours: key(
    count(1, 720).default(24),
    "how long the idempotencyKey of a message stays unique in its topic",
  ),
  maxMessageKeys: key(
    count(1000, 100_000_000).default(2_000_000),
    "idempotency keys of messages kept, in all; the oldest are forgotten early beyond it (56 bytes each)",
  ),
  requestKeyHours: key(
    count(1, 720).default(24),
    "how long a request is known by its Idempotency-Key",
  ),
  maxRequestKeys: key(
    count(1000, 50_000_000).default(500_000),
    "requests known by their Idempotency-Key; the oldest are forgotten early beyond it",
  ),
  groupsPartitions: key(
    count(1, 64).default(4),
    "partitions of the internal topic __groups, fixed at first start",
  ),
  maxGroups: key(
    count(1, 10_000_000).default(50_000),
    "consumer groups; what would make one more gets 503 OVERLOADED (some 2 KB each and more)",
  ),
  groupSnapshotIntervalMs: key(
    count(0, 86_400_000).default(60_000),
    "time after which changed offsets of a group are written down as a snapshot; 0: only when asked for",
  ),
  groupHistoryHours: key(
    count(0, 87_600).default(168),
    "how long the history of groups and their offsets is kept at least; 0 keeps it for ever",
  ),
  groupMaxRetries: key(
    count(1000, 1_000_000).default(200_000),
    "messages of one group that may wait for a retry; a nack beyond it gets 503 OVERLOADED (about 80 bytes each)",
  ),
  groupMaxDeadLettersPerMinute: key(
    count(0, 1_000_000).default(2000),
    "a group in which more messages become dead letters within a minute is paused; 0 turns that off",
  ),
  groupInitialDelayMs: key(
    count(0, 60_000).default(500),
    "wait before the first assignment of an empty group",
  ),
  groupRebalanceDelayMs: key(
    count(0, 60_000).default(100),
    "wait that lets joins and leaves of a live group share one rebalance",
  ),
  groupRevocationGraceMs: key(
    count(0, 600_000).default(3000),
    "time a member has to finish partitions it must give up",
  ),
  groupReconnectGraceMs: key(
    count(0, 600_000).default(2000),
    "time a lost WebSocket member has to come back",
  ),
} as const;

/** Keys that may stand in a file of their own, by the key that names the file. */
export const SECRET_FILES = {
  adminTokenFile: "adminToken",
  jwtSecretFile: "jwtSecret",
  alertWebhookSecretFile: "alertWebhookSecret",
  archiveS3SecretAccessKeyFile: "archiveS3SecretAccessKey",
  ...CLUSTER_SECRET_FILES,
} as const satisfies Partial<Record<ConfigKey, ConfigKey>>;

export type ConfigKey = keyof typeof CONFIG_KEYS;

/** The checked configuration; units last in the names. */
export type Config = { readonly [K in ConfigKey]: z.output<(typeof CONFIG_KEYS)[K]["schema"]> };

/** `dataDir` -> `data-dir` */
export function flagName(name: ConfigKey): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `dataDir` -> `WAYBILL_DATA_DIR` */
export function environmentName(name: ConfigKey): string {
  return `WAYBILL_${flagName(name).replaceAll("-", "_").toUpperCase()}`;
}
