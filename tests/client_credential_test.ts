// Owns the tests of how the client comes to its credential, and of what it says where TLS fails.
// Refuses to own what credentials open (client_access_test.ts).
import assert from "node:assert/strict";
import { WaybillClient } from "../api/client.ts";
import { FetchTransport } from "../api/client/transport.ts";
import { consumingServer } from "./support/consuming_server.ts";
import { selfSigned } from "./support/self_signed.ts";
import { VirtualClock } from "./support/virtual_time.ts";

function transport(token: () => Promise<string>) {
  const time = new VirtualClock();
  const sent: (string | null)[] = [];
  const fetch = (_url: string, init: RequestInit) => {
    sent.push(new Headers(init.headers).get("authorization"));
    return Promise.resolve(new Response("{}"));
  };
  const parts = { clock: time, timers: time, fetch: fetch as typeof globalThis.fetch };
  return { sent, transport: new FetchTransport({ url: "http://b", token, ...parts }) };
}

Deno.test("a function that gives tokens is asked at each request, and its fault is told", async () => {
  let count = 0;
  const scene = transport(() => Promise.resolve(`token-${++count}`));
  const request = { method: "GET", path: "/", timeoutMs: 1_000 } as const;
  await scene.transport.send(request);
  await scene.transport.send(request);
  assert.deepEqual(scene.sent, ["Bearer token-1", "Bearer token-2"]);
  const broken = transport(() => Promise.reject(new Error("the vault is closed")));
  await assert.rejects(broken.transport.send(request), {
    code: "NO_TOKEN",
    retryable: true,
    message: /the vault is closed/,
  });
  assert.deepEqual(broken.sent, []);
});

Deno.test("a consumer is connected with the token of now", async () => {
  const server = await consumingServer({ adminToken: "the-second" });
  const tokens = ["the-first"];
  let asked = 0;
  await using client = new WaybillClient({
    url: server.url,
    token: () => {
      asked++;
      return Promise.resolve(tokens[0]!);
    },
  });
  tokens[0] = "the-second";
  await client.topics.create({ name: "t" });
  await client.producer().send("t", "a");
  const consumer = client.consumer({ group: "g", topics: ["t"], autoOffsetReset: "earliest" });
  for await (const message of consumer) {
    assert.equal(message.value, "a");
    break;
  }
  assert.ok(asked >= 3, `asked ${asked} times`);
  await client.close();
  await server.close();
});

Deno.test("a certificate that is not trusted, and http where https is spoken, end at once and say why", async () => {
  const { cert, key } = await selfSigned("private");
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, cert, key, onListen: () => {} },
    () => new Response("{}"),
  );
  const { port } = server.addr as Deno.NetAddr;
  for (const url of [`https://127.0.0.1:${port}`, `http://127.0.0.1:${port}`]) {
    await using client = new WaybillClient({ url });
    const refusal = { code: "TLS_FAILED", retryable: false, message: /certificate|HTTP version/ };
    await assert.rejects(client.topics.list(), refusal, url);
    await assert.rejects(client.producer().send("t", "a"), refusal, url);
    const consumer = client.consumer({ group: "g", topics: ["t"] });
    await assert.rejects(async () => {
      for await (const message of consumer) assert.fail(String(message));
    }, refusal);
  }
  await server.shutdown();
});

Deno.test("a token that no subprotocol can be called by opens the stream too", async () => {
  const token = "a/b+c=?>~of=24/characters";
  const server = await consumingServer({ adminToken: token });
  await using client = new WaybillClient({ url: server.url, token });
  await client.topics.create({ name: "t" });
  await client.producer().send("t", "a");
  for await (
    const { value } of client.consumer({ group: "g", topics: ["t"], autoOffsetReset: "earliest" })
  ) {
    assert.equal(value, "a");
    break;
  }
  await client.close();
  await server.close();
});
