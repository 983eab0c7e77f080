// Owns what the client does when the broker does not let it, at once or any more: it says so, and asks no second time.
// Refuses to own the broker's side (access_end_test.ts, acl_streams_test.ts).
import assert from "node:assert/strict";
import { LOCAL_ADMINISTRATOR } from "../api/auth/access.ts";
import { Admin } from "../api/client/admin.ts";
import { WaybillError } from "../api/client/errors.ts";
import { TransactionalProducer } from "../api/client/transactions.ts";
import { crc32c } from "@node-rs/crc32";
import { consumerWorld, Reader } from "./support/client_stream.ts";
import { producerUnderTest, watch } from "./support/client_transport.ts";
import { seededRandomness } from "./support/seeded_randomness.ts";
import { VirtualClock } from "./support/virtual_time.ts";

const REFUSALS = [
  { status: 401, code: "UNAUTHENTICATED" },
  { status: 403, code: "FORBIDDEN" },
  { status: 404, code: "UNKNOWN_TOPIC" },
];

Deno.test("a consumer whose credential ends hears so from its iterator, and does not come back", async () => {
  const { world, consumer, line } = await consumerWorld();
  let end: "revoked" | null = null;
  line.access = { ...LOCAL_ADMINISTRATOR, principal: "billing", ended: () => end };
  const billing = consumer();
  const reader = new Reader(billing);
  await world.publish(1);
  await world.until(() => reader.messages.length === 1, "a message");
  end = "revoked";
  await world.until(() => reader.error !== null, "the error");
  assert.deepEqual([reader.error!.code, reader.error!.retryable], ["UNAUTHENTICATED", false]);
  assert.match(reader.error!.detail, /revoked/);
  await world.time.advance(60_000);
  assert.equal(line.sockets.length, 1, "it does not try again with what was refused");
  await billing.close();
});

Deno.test("a consumer that may not read any more hears of the resource, and does not come back", async () => {
  const { world, consumer, line, socket } = await consumerWorld();
  const billing = consumer();
  const reader = new Reader(billing);
  await world.until(() => billing.assignment.length === 1, "the assignment");
  const detail = "no ACL allows read on topic orders";
  socket().inject({ type: "error", code: "FORBIDDEN", detail, retryable: false });
  socket().shut(4003, detail);
  await world.until(() => reader.error !== null, "the error");
  assert.deepEqual([reader.error!.code, reader.error!.detail], ["FORBIDDEN", detail]);
  await world.time.advance(60_000);
  assert.equal(line.sockets.length, 1);
  await billing.close();
});

Deno.test("a refused commit of a consumer is no reason why its connection was lost later", async () => {
  const { world, consumer, line, socket } = await consumerWorld();
  const billing = consumer();
  const reader = new Reader(billing);
  await world.until(() => billing.assignment.length === 1, "the assignment");
  socket().inject({ type: "error", code: "FORBIDDEN", detail: "one topic", retryable: false });
  socket().cut();
  await world.until(() => line.sockets.length === 2, "another connection");
  await world.publish(1);
  await world.until(() => reader.messages.length === 1, "a message");
  assert.equal(reader.error, null);
  await billing.close();
});

for (const { status, code } of REFUSALS) {
  Deno.test(`a producer that is answered ${status} tells the sender so, after one request`, async () => {
    const { producer, transport, time } = producerUnderTest();
    let requests = 0;
    transport.fate = () => (requests++, { status, code });
    const sender = producer();
    const sent = watch(sender.send("t", { partition: 0, value: "a" }));
    await time.advance(60_000);
    assert.equal(sent.code, code);
    assert.equal(requests, 1);
    await sender.close();
  });

  Deno.test(`a request for administration that is answered ${status} is sent once`, async () => {
    const time = new VirtualClock();
    const ports = {
      clock: time,
      timers: time,
      randomness: seededRandomness(1),
      crc: { crc32c },
    };
    const paths: string[] = [];
    const transport = {
      send: ({ method, path }: { method: string; path: string }) => {
        paths.push(`${method} ${path}`);
        return Promise.reject(new WaybillError(code, "no", { retryable: false, status }));
      },
    };
    const admin = new Admin(transport, ports);
    const found = watch(admin.describeTopic("t"));
    const begun = watch(
      new TransactionalProducer(transport, ports, { transactionalId: "x" }).begin(),
    );
    await time.advance(60_000);
    assert.deepEqual([found.code, begun.code], [code, code]);
    assert.deepEqual(paths, ["GET /api/topics/t", "POST /api/transactions"]);
  });
}
