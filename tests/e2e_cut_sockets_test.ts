// Owns proof on the real process that a WebSocket whose client neither reads nor answers is soon gone once it was closed.
// Refuses to own when a session is closed (stream_session_test.ts).
import assert from "node:assert/strict";
import { call, eventually, publish } from "./support/api_calls.ts";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { createTopic } from "./support/numbered_load.ts";
import { openSocket } from "./support/raw_http.ts";

const SOCKETS = 5;
/** Session time-out, time to answer the close, and the door's next looks, on a machine that is busy. */
const SOON_MS = 20_000;

Deno.test("clients that neither read nor send are cut off soon after their sessions end, and count no more", async () => {
  const sockets: Deno.TcpConn[] = [];
  await withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({ dataDir, args: ["--drain-ms=200"] });
    await createTopic(broker.url, { name: "bait" });
    const values = Array.from({ length: 1_000 }, () => "x".repeat(1_000));
    for (let round = 0; round < 10; round++) await publish(broker.url, "bait", values);
    for (let count = 0; count < SOCKETS; count++) {
      const path = `/api/groups/g${count}/stream?topics=bait&autoOffsetReset=earliest` +
        "&sessionTimeoutMs=1000&maxInFlight=100000";
      const handshake = `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\n` +
        "upgrade: websocket\r\nsec-websocket-version: 13\r\n" +
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
      sockets.push(await openSocket(broker.url, handshake));
    }
    const connections = async () =>
      (await call(broker.url, "/api/quotas/default")).body.usage.connections;
    await eventually(5_000, async () => assert.equal(await connections(), SOCKETS));
    await eventually(SOON_MS, async () => assert.equal(await connections(), 0));
    assert.equal((await broker.stop("SIGTERM")).code, 0);
  });
  for (const socket of sockets) socket.close();
});
