// Owns tests of addresses that no HTTP client would send: a Host that makes no URL, and paths with dots in them.
// Refuses to own names that are not answered to (the tests of the door).
import assert from "node:assert/strict";
import { addressCheck, rawPath } from "../api/request_address.ts";
import { createGuard } from "../api/security.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { apiUnderTest } from "./support/api_app.ts";
import { exchange } from "./support/raw_http.ts";
import { VirtualClock } from "./support/virtual_time.ts";

async function served(use: (url: string, faults: unknown[]) => Promise<void>): Promise<void> {
  const api = await apiUnderTest({ app: { security: SECURITY } });
  await api.ask("POST", "/api/topics", {
    headers: ADMIN,
    body: { name: "payroll", partitions: 1 },
  });
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    (request) => api.app.fetch(request),
  );
  try {
    await use(`http://127.0.0.1:${server.addr.port}`, api.faults);
  } finally {
    await server.shutdown();
    await api.close();
  }
}

const SECURITY = { adminToken: "the-administrator", allowedOrigins: [] };
const ADMIN = { authorization: "Bearer the-administrator" };

Deno.test("a Host that makes no URL, or shifts the path, is an invalid request and no fault of the broker", async () => {
  await served(async (url, faults) => {
    const of = (host: string, path = "/livez") =>
      exchange(url, `GET ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`);
    for (const host of ["a b/c@d", "a b", "x:99999", "[::1", "a/livez?", "a/b#", "u@127.0.0.1"]) {
      for (const path of ["/livez", "/nowhere", "/api/topics"]) {
        const { status, body } = await of(host, path);
        // Some of these the runtime refuses itself, without a body.
        assert.equal(status, 400, `${host} ${path}: ${body}`);
        if (body !== "") assert.equal(JSON.parse(body).code, "INVALID_REQUEST");
      }
    }
    for (const host of ["127.0.0.1", "[::1]:80", "broker_1.example:8080", "localhost"]) {
      assert.equal((await of(host)).status, 200, host);
      assert.equal((await of(host, "/nowhere")).status, 404, host);
    }
    assert.deepEqual(faults, []);
  });
});

Deno.test("a path with dots is where it says, and there is nothing", async () => {
  await served(async (url) => {
    for (const path of ["/api/groups/../topics/payroll", "/api/topics/./payroll", "/x/../livez"]) {
      const head = `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n`;
      const { status, body } = await exchange(
        url,
        `${head}authorization: ${ADMIN.authorization}\r\nconnection: close\r\n\r\n`,
      );
      assert.deepEqual([status, JSON.parse(body).code], [404, "NOT_FOUND"], path);
    }
    const known = "POST /api/topics/payroll HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n";
    const { status } = await exchange(url, `${known}connection: close\r\n\r\n`);
    assert.equal(status, 405);
  });
});

Deno.test("an address that makes no URL is refused by whoever reads it first", () => {
  const check = addressCheck();
  const from = (host: string) => check({ headers: new Headers({ host }) } as Request);
  assert.equal(from("a b/c@d")?.code, "INVALID_REQUEST");
  assert.equal(from("localhost:8080"), null);
  const guard = createGuard({ ...SECURITY, trustedHosts: [] }, {
    keys: () => ({ find: () => null, tenantOf: () => null }) as never,
    clock: new VirtualClock(),
  });
  const odd = { url: "http://a b/c@d/livez", headers: new Headers(), method: "GET" } as Request;
  assert.throws(
    () => guard(odd),
    (error) => error instanceof BrokerError && error.code === "INVALID_REQUEST",
  );
  assert.equal(rawPath("http://x/a/../b?c=/d"), "/a/../b");
});
