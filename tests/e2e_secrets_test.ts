// Owns the proof that no secret leaves the real process but where it is meant to: not into logs, errors, metrics, the audit
// log or files, whatever is sent and whatever fails.
// Refuses to own that credentials are checked (e2e_access_test.ts).
import assert from "node:assert/strict";
import { SignJWT } from "jose";
import { CONFIG_KEYS, environmentName } from "../ops/config_keys.ts";
import { type Answer, call, type CallOptions } from "./support/api_calls.ts";
import {
  BrokerDidNotStart,
  type BrokerProcess,
  startBrokerProcess,
  withDataDir,
} from "./support/broker_process.ts";

/** A secret is found by any piece of this length: an excerpt of it is a leak as well. */
const PIECE_CHARS = 12;
/** By configuration key; every key that is secret has one. */
const SECRETS: Readonly<Record<string, string>> = {
  adminToken: "adminMARK.qZx81Lw0pTuv.9",
  jwtSecret: "jwtMARK-7hGf3kQw9ZxC2vB5nM8aS1dR4",
  encryptionKey: "3q2+7wMARK4567890abcdefghijklmnopqrstuvwxyz=",
  alertWebhookSecret: "hookMARK-Qw7Zx3Lk9Vb2Nm5Tr8Yp1",
  etcdPassword: "etcdMARK-Zk4Wn8Tq2Vy6Hs0Jd",
  peerSecret: "peerMARK-Lm5Xc9Rb3Gt7Ku1Wf",
  archiveS3SecretAccessKey: "s3MARK/kY7uJm4Nh5Tg6Rf/Vc3Xe2Wd1",
};
const COOKIE = "cookieMARK-b7Yt5Rw3Qp9Lk1";

function piecesOf(secret: string): string[] {
  const pieces: string[] = [];
  for (let at = 0; at + PIECE_CHARS <= secret.length; at++) {
    pieces.push(secret.slice(at, at + PIECE_CHARS));
  }
  return pieces;
}

/** Name of the first secret of which a piece stands in `text`. */
function leakIn(text: string, secrets: ReadonlyMap<string, string>): string | null {
  for (const [name, secret] of secrets) {
    const piece = piecesOf(secret).find((piece) => text.includes(piece));
    if (piece !== undefined) return `${name}: ${piece}`;
  }
  return null;
}

function environment(more: Record<string, string> = {}): Record<string, string> {
  const secrets = Object.entries(SECRETS).map(([name, value]) =>
    [environmentName(name as keyof typeof CONFIG_KEYS), value] as const
  );
  return {
    ...Object.fromEntries(secrets),
    WAYBILL_LOG_LEVEL: "trace",
    WAYBILL_RETENTION_INTERVAL_MS: "1000",
    WAYBILL_ENCRYPT_INTERNAL_TOPICS: "true",
    // Nobody listens there.
    WAYBILL_ARCHIVE_S3_ENDPOINT: "http://127.0.0.1:9",
    WAYBILL_ARCHIVE_S3_BUCKET: "bucket",
    WAYBILL_ARCHIVE_S3_ACCESS_KEY_ID: "public-id",
    ...more,
  };
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** Changes one character in the middle: nearly the secret is nearly as bad to see. */
function spoiled(token: string): string {
  const at = token.length >> 1;
  return token.slice(0, at) + (token[at] === "x" ? "y" : "x") + token.slice(at + 1);
}

/** Requests that carry secrets where they belong and where they do not, with everything wrong that can be. */
function requestsWith(tokens: readonly string[], key: string): [string, CallOptions][] {
  const json = { name: "orders" };
  const path = "/api/topics";
  const wrong = tokens.flatMap((token): [string, CallOptions][] => [
    [path, { headers: bearer(spoiled(token)) }],
    [path, { headers: bearer(`${token}x`) }],
    [path, { headers: bearer(token.repeat(400).slice(0, 9_000)) }],
    [path, { headers: { authorization: `Basic ${token}` } }],
    [path, { headers: { authorization: token } }],
    ["/api/groups/g/stream?topics=orders", {
      headers: { "sec-websocket-protocol": `waybill.v1, bearer.${spoiled(token)}` },
    }],
    [path, { headers: { ...bearer(token), "content-type": "text/plain" }, body: "x" }],
    [path, { headers: { ...bearer(token), cookie: COOKIE }, body: `{"name": ` }],
    [path, { headers: { ...bearer(token), "x-forwarded-for": COOKIE }, json: { name: "" } }],
    ["/api/messages:publish", { headers: bearer(token), json: { topic: "no", messages: [] } }],
    ["/api/nothing", { headers: bearer(token) }],
  ]);
  return [
    ...wrong,
    [path, { headers: bearer(tokens[0]!), json }],
    [path, { headers: bearer(tokens[0]!), json }],
    [`/api/keys/${key}`, { method: "DELETE", headers: bearer(tokens[0]!) }],
    ["/api/keys", { headers: bearer(tokens[0]!), json: { principal: "a b" } }],
    ["/api/topics/orders", { method: "DELETE", headers: bearer(tokens[0]!) }],
  ];
}

async function filesBelow(directory: string): Promise<[string, string][]> {
  const found: [string, string][] = [];
  for await (const { name, isDirectory, isFile } of Deno.readDir(directory)) {
    const path = `${directory}/${name}`;
    if (isDirectory) found.push(...await filesBelow(path));
    if (isFile) found.push([path, new TextDecoder("latin1").decode(await Deno.readFile(path))]);
  }
  return found;
}

/** Everything that the broker tells an administrator. */
async function toldBy(broker: BrokerProcess): Promise<[string, string][]> {
  const headers = bearer(SECRETS.adminToken!);
  const texts: [string, string][] = [];
  const paths = [
    "/metrics",
    "/api/audit?limit=1000",
    "/api/keys",
    "/api/acls",
    "/api/cluster",
    "/readyz",
    "/openapi.json",
  ];
  for (const path of paths) {
    texts.push([path, shownText(await call(broker.url, path, { headers }))]);
  }
  return texts;
}

function shownText({ body, headers }: Answer): string {
  return JSON.stringify([body, [...headers]]);
}

Deno.test("no secret is in logs, errors, metrics, audit or files, whatever is sent and whatever fails", async () => {
  const secretKeys = Object.entries(CONFIG_KEYS).filter(([, { secret }]) => secret);
  assert.deepEqual(secretKeys.map(([name]) => name).sort(), Object.keys(SECRETS).sort());
  await withDataDir(async (dataDir) => {
    const secrets = new Map<string, string>([...Object.entries(SECRETS), ["cookie", COOKIE]]);
    const checked = (where: string, text: string) =>
      assert.equal(leakIn(text, secrets), null, `${where} tells a secret`);
    const admin = bearer(SECRETS.adminToken!);
    {
      await using broker = await startBrokerProcess({ dataDir, environment: environment() });
      const { url } = broker;
      const made = await call(url, "/api/keys", { headers: admin, json: { principal: "alice" } });
      assert.equal(made.status, 201);
      // Its beginning names it, and is no secret.
      secrets.set("API key", made.body.key.slice(`wbk_${made.body.keyId}_`.length));
      const signer = new SignJWT({ sub: "bob" }).setProtectedHeader({ alg: "HS256" });
      const jwt = await signer.setExpirationTime("1m")
        .sign(new TextEncoder().encode(SECRETS.jwtSecret));
      secrets.set("JWT", jwt.split(".")[2]!);
      const late = await signer.setExpirationTime("-5m")
        .sign(new TextEncoder().encode(SECRETS.jwtSecret));
      secrets.set("expired JWT", late.split(".")[2]!);
      const tokens = [SECRETS.adminToken!, made.body.key as string, jwt, late];
      await call(url, "/api/topics", {
        headers: admin,
        json: { name: "archived", archive: true, retentionBytes: 1, segmentBytes: 16_384 },
      });
      const value = "m".repeat(20_000);
      for (let count = 0; count < 3; count++) {
        const json = { topic: "archived", messages: [{ value }] };
        await call(url, "/api/messages:publish", { headers: admin, json });
      }
      for (const [path, options] of requestsWith(tokens, made.body.key)) {
        const answer = await call(url, path, options);
        // What one has put into the path oneself may come back.
        if (!path.includes(made.body.key)) checked(`${path} (${answer.status})`, shownText(answer));
      }
      for (const [path, text] of await toldBy(broker)) checked(path, text);
      await call(url, `/api/keys/${made.body.keyId}`, { method: "DELETE", headers: admin });
      const gone = await call(url, "/api/topics", { headers: bearer(made.body.key) });
      checked("a revoked key", shownText(gone));
      assert.equal((await broker.stop("SIGTERM")).code, 0);
      checked("log", broker.log() + broker.output());
      assert.match(broker.log(), /archiv/);
    }
    for (const [path, text] of await filesBelow(dataDir)) checked(path, text);
    {
      // With a key of encryption that is not the right one, or none.
      const otherKey = environment({
        WAYBILL_ENCRYPTION_KEY: SECRETS.encryptionKey!.replace("3", "4"),
      });
      await using broker = await startBrokerProcess({ dataDir, environment: otherKey });
      for (const [path, text] of await toldBy(broker)) checked(path, text);
      await broker.stop("SIGKILL");
      checked("log with another key", broker.log() + broker.output());
    }
  });
});

Deno.test("a start that fails tells no secret, also of configuration that is wrong because of one", async () => {
  const secrets = new Map(Object.entries(SECRETS));
  const wrong: Record<string, string>[] = [
    { WAYBILL_DRAIN_MS: SECRETS.adminToken! },
    { WAYBILL_JWT_SECRET: SECRETS.jwtSecret!.slice(0, 20) },
    { WAYBILL_ENCRYPTION_KEY: SECRETS.encryptionKey!.slice(0, 30) },
    { WAYBILL_JWT_JWKS_URL: "https://issuer.example/keys" },
  ];
  await Promise.all(wrong.map((more) =>
    withDataDir(async (dataDir) => {
      const started = startBrokerProcess({ dataDir, environment: environment(more) });
      await assert.rejects(started, (error: Error) => {
        assert.ok(error instanceof BrokerDidNotStart, String(error));
        assert.equal(leakIn(error.output, secrets), null, error.output);
        return true;
      });
    })
  ));
});
