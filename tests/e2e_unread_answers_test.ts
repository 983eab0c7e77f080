// Owns proof on the real process that answers that nobody reads cost neither memory nor others their answers.
// Refuses to own the rules of the budget (answer_budget_test.ts).
import assert from "node:assert/strict";
import { call, pause, publish } from "./support/api_calls.ts";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { createTopic } from "./support/numbered_load.ts";
import { residentBytes } from "./support/process_memory.ts";
import { openSocket } from "./support/raw_http.ts";

const MIB = 1_048_576;
const SOCKETS = 100;
/** What the broker takes without any of this, the budget, and as much again for what the runtime copies. */
const MAX_RESIDENT_BYTES = 800 * MIB;

Deno.test("a hundred sockets that ask for all they may and read nothing take no more memory than the budget", async () => {
  const sockets: Deno.TcpConn[] = [];
  await withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({ dataDir, args: ["--drain-ms=200"] });
    await createTopic(broker.url, { name: "bait" });
    const values = Array.from({ length: 1_000 }, () => "x".repeat(1_000));
    for (let round = 0; round < 9; round++) {
      assert.equal((await publish(broker.url, "bait", values)).status, 200);
    }
    const path = "/api/topics/bait/partitions/0/messages";
    const ask = `GET ${path}?maxBytes=${
      8 * MIB
    }&maxMessages=10000 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`;
    for (let count = 0; count < SOCKETS; count++) sockets.push(await openSocket(broker.url, ask));
    for (let look = 0; look < 20; look++) {
      const { status, ms } = await call(broker.url, `${path}?maxMessages=10`);
      assert.equal(status, 200);
      assert.ok(ms < 5_000, `a read beside them took ${Math.round(ms)} ms`);
      await pause(50);
    }
    const { peak } = await residentBytes(broker.pid);
    assert.ok(peak < MAX_RESIDENT_BYTES, `${Math.round(peak / MIB)} MiB were resident`);
    for (const socket of sockets) socket.close();
    await pause(100);
    const { body } = await call(broker.url, `${path}?maxBytes=${8 * MIB}&maxMessages=10000`);
    assert.ok(
      body.messages.length > 7_000,
      `${body.messages.length} messages: nothing was given back`,
    );
    assert.equal((await broker.stop("SIGTERM")).code, 0);
  });
});
