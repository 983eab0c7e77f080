// Owns proof that credentials hold in the real process: over HTTP and WebSocket, across a restart, until they are revoked.
// Refuses to own each rule on its own (api_keys_test.ts, access_end_test.ts, jwt_test.ts).
import assert from "node:assert/strict";
import { SignJWT } from "jose";
import { WaybillClient } from "../api/client.ts";
import { call } from "./support/api_calls.ts";
import { BrokerDidNotStart, startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { createTopic } from "./support/numbered_load.ts";

const ADMIN_TOKEN = "bootstrap-4711";
const JWT_SECRET = "0123456789abcdef0123456789abcdef";
const ENVIRONMENT = { WAYBILL_ADMIN_TOKEN: ADMIN_TOKEN, WAYBILL_JWT_SECRET: JWT_SECRET };
const CLOSED_UNAUTHENTICATED = 4003;
/** From the answer that revokes a key to the end of what it opened. */
const REVOCATION_MS = 5_000;

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

Deno.test("a key and its rights open HTTP and WebSocket, survive a restart, and end with everything the key opened when it is revoked", async () => {
  await withDataDir(async (dataDir) => {
    const made = await (async () => {
      await using broker = await startBrokerProcess({ dataDir, environment: ENVIRONMENT });
      const { url } = broker;
      const headers = bearer(ADMIN_TOKEN);
      assert.equal((await call(url, "/api/topics")).status, 401);
      const body = { principal: "billing", tenant: "acme" };
      const answer = await call(url, "/api/keys", { headers, json: body });
      assert.equal(answer.status, 201);
      const createOrders = () =>
        call(url, "/api/topics", {
          headers: bearer(answer.body.key),
          json: { name: "orders", partitions: 1 },
        });
      assert.equal((await createOrders()).status, 403);
      for (const resource of ["topic", "group"]) {
        const acl = { principal: "billing", resource, pattern: "*", operation: "all" };
        assert.equal((await call(url, "/api/acls", { headers, json: acl })).status, 201);
      }
      assert.equal((await createOrders()).status, 201);
      assert.equal((await broker.stop("SIGKILL")).success, false);
      return answer.body;
    })();
    await using broker = await startBrokerProcess({ dataDir, environment: ENVIRONMENT });
    const { url } = broker;
    await using client = new WaybillClient({ url, token: made.key });
    await client.producer().send("orders", "a");
    const path = "/api/groups/raw/stream?topics=orders&autoOffsetReset=earliest";
    const socket = new WebSocket(url.replace("http", "ws") + path, [
      "waybill.v1",
      `bearer.${made.key}`,
    ]);
    const codes: string[] = [];
    const closed = new Promise<CloseEvent>((resolve) => socket.onclose = resolve);
    const delivered = new Promise<void>((resolve) => {
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data);
        if (frame.type === "error") codes.push(frame.code);
        if (frame.type === "messages") resolve();
      };
    });
    await delivered;
    assert.equal(socket.protocol, "waybill.v1");
    const iterator = client.consumer({
      group: "sdk",
      topics: ["orders"],
      autoOffsetReset: "earliest",
    })[Symbol.asyncIterator]();
    assert.equal((await iterator.next()).value!.value, "a");
    const ended = assert.rejects(iterator.next(), { code: "UNAUTHENTICATED" });

    const start = performance.now();
    const headers = bearer(ADMIN_TOKEN);
    const { status } = await call(url, `/api/keys/${made.keyId}`, { method: "DELETE", headers });
    assert.equal(status, 204);
    assert.equal((await closed).code, CLOSED_UNAUTHENTICATED);
    assert.deepEqual(codes, ["UNAUTHENTICATED"]);
    await ended;
    assert.ok(performance.now() - start < REVOCATION_MS, "the key ended late");
    assert.equal((await call(url, "/api/topics", { headers: bearer(made.key) })).status, 401);
    assert.equal((await broker.stop("SIGTERM")).code, 0);
    const said = broker.log() + broker.output();
    for (const secret of [made.key, ADMIN_TOKEN, JWT_SECRET]) {
      assert.equal(said.includes(secret), false);
      assert.equal(await isInFiles(dataDir, secret), false);
    }
  });
});

Deno.test("a JWT opens a broker that listens for it, and without any credential only loopback is served", async () => {
  await withDataDir(async (dataDir) => {
    const environment = { WAYBILL_JWT_SECRET: JWT_SECRET, WAYBILL_JWT_AUDIENCE: "waybill" };
    await using broker = await startBrokerProcess({ dataDir, environment });
    const sign = (audience: string) =>
      new SignJWT({ sub: "billing", aud: audience }).setProtectedHeader({ alg: "HS256" })
        .setExpirationTime("1m").sign(new TextEncoder().encode(JWT_SECRET));
    const statusOf = async (headers: Record<string, string>) =>
      (await call(broker.url, "/api/topics", { headers })).status;
    assert.equal(await statusOf({}), 401);
    assert.equal(await statusOf(bearer(await sign("waybill"))), 200);
    assert.equal(await statusOf(bearer(await sign("another"))), 401);
    assert.match(broker.log(), /nobody may make ACLs/);
    await broker.stop("SIGTERM");
  });
  await withDataDir(async (dataDir) => {
    const open = startBrokerProcess({ dataDir, args: ["--host=0.0.0.0"] });
    await assert.rejects(open, (error: Error) => {
      assert.ok(error instanceof BrokerDidNotStart);
      assert.match(error.output, /no credential is configured/);
      return true;
    });
    await using broker = await startBrokerProcess({ dataDir });
    assert.doesNotMatch(broker.log(), /nobody may make ACLs/);
    await createTopic(broker.url, { name: "t" });
    await broker.stop("SIGTERM");
  });
});

async function isInFiles(directory: string, text: string): Promise<boolean> {
  for await (const { name, isDirectory, isFile } of Deno.readDir(directory)) {
    const path = `${directory}/${name}`;
    if (isDirectory && await isInFiles(path, text)) return true;
    const latin = isFile ? new TextDecoder("latin1").decode(await Deno.readFile(path)) : "";
    if (latin.includes(text)) return true;
  }
  return false;
}
