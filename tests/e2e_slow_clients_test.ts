// Owns proof that clients that are slow, silent, many or endless hold nothing for long, and that honest ones notice nothing.
import assert from "node:assert/strict";
import { call, eventually, pause, publish } from "./support/api_calls.ts";
import { type BrokerProcess, startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { createTopic } from "./support/numbered_load.ts";
import { residentBytes } from "./support/process_memory.ts";
import { openSocket } from "./support/raw_http.ts";

const MIB = 1_048_576;
const HEADER_TIMEOUT_MS = 1_000;
const BODY_TIMEOUT_MS = 1_000;
const SOON = [
  `--header-timeout-ms=${HEADER_TIMEOUT_MS}`,
  `--body-timeout-ms=${BODY_TIMEOUT_MS}`,
  "--idle-timeout-ms=3000",
];
/** Between a time-out and the end of its connection: two looks, on a machine that is busy. */
const GRACE_MS = 6_000;
const DRIP_MS = 50;
const HEAD = "POST /api/messages:publish HTTP/1.1\r\nhost: 127.0.0.1\r\n" +
  "content-type: application/json\r\n";
const PROBE = "GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";

async function withBroker(
  options: { args: readonly string[]; wrapper?: readonly string[] },
  test: (broker: BrokerProcess) => Promise<void>,
): Promise<void> {
  await withDataDir(async (dataDir) => {
    const args = [...options.args, "--drain-ms=500"];
    await using broker = await startBrokerProcess({ ...options, args, dataDir });
    await createTopic(broker.url, { name: "t" });
    await test(broker);
  });
}

/** What came until the other side closed, and when that was; fails when it does not. */
async function ended(socket: Deno.TcpConn, limitMs: number): Promise<{ text: string; ms: number }> {
  const start = performance.now();
  const timer = setTimeout(() => socket.close(), limitMs);
  const buffer = new Uint8Array(65_536);
  let text = "";
  for (;;) {
    const count = await socket.read(buffer).catch((error) => {
      if (error instanceof Deno.errors.ConnectionReset) return null;
      throw new Error(`still open after ${limitMs} ms`, { cause: error });
    });
    if (count === null) break;
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
  clearTimeout(timer);
  socket.close();
  return { text, ms: performance.now() - start };
}

/** Sends a byte now and then until the socket is closed. */
async function drip(socket: Deno.TcpConn): Promise<void> {
  try {
    for (;;) {
      await socket.write(new Uint8Array([97]));
      await pause(DRIP_MS);
    }
  } catch {
    // It is closed: that is what was waited for.
  }
}

Deno.test("broker ends connections whose request is half sent, silent or dripping, and those without one", async () => {
  await withBroker({ args: SOON }, async ({ url }) => {
    const cases: [string, string, number][] = [
      ["nothing", "", HEADER_TIMEOUT_MS],
      ["half a header", `${HEAD}conte`, HEADER_TIMEOUT_MS],
      ["half a second header", `${PROBE}GET /liv`, HEADER_TIMEOUT_MS],
      ["a declared body", `${HEAD}content-length: 500\r\n\r\n{`, BODY_TIMEOUT_MS],
      ["a large one", `${HEAD}content-length: 32768\r\n\r\n{`, BODY_TIMEOUT_MS + 2_000],
      ["a chunked one", `${HEAD}transfer-encoding: chunked\r\n\r\nffff\r\n{"`, BODY_TIMEOUT_MS],
      ["no second request", PROBE, 3_000],
    ];
    await Promise.all(
      cases.flatMap(([what, text, afterMs]) =>
        [false, true].map(async (isDripping) => {
          // A drip after a whole request is the beginning of another.
          const socket = await openSocket(url, text);
          const dripping = isDripping ? drip(socket) : Promise.resolve();
          const { ms } = await ended(socket, afterMs + GRACE_MS);
          const least = isDripping ? Math.min(afterMs, HEADER_TIMEOUT_MS) : afterMs;
          assert.ok(ms >= least * 0.8, `${what} (dripping: ${isDripping}) ended after ${ms} ms`);
          await dripping;
        })
      ),
    );
  });
});

Deno.test("broker ends nobody who waits, streams or pauses within the time-outs", async () => {
  await withBroker({ args: SOON }, async ({ url }) => {
    const poll = "/api/topics/t/partitions/0/messages?offset=0&waitMs=5000";
    const waiting = call(url, poll, { timeoutMs: 20_000 });
    const socket = new WebSocket(`${url.replace("http", "ws")}/api/groups/g/stream?topics=t`);
    await new Promise((resolve) => socket.onmessage = resolve);
    using kept = await openSocket(url, PROBE);
    const buffer = new Uint8Array(4_096);
    for (let count = 0; count < 4; count++) {
      assert.ok(await kept.read(buffer));
      await pause(1_000);
      await kept.write(new TextEncoder().encode(PROBE));
    }
    assert.equal((await waiting).status, 200);
    assert.equal(socket.readyState, WebSocket.OPEN);
    const closed = new Promise((resolve) => socket.onclose = resolve);
    socket.close();
    await closed;
  });
});

Deno.test("broker keeps to its bound of connections of one address; who asks something still gets in", async () => {
  const args = ["--max-connections-per-address=40"];
  await withBroker({ args }, async ({ url }) => {
    let open = 0;
    const sockets: Deno.TcpConn[] = [];
    for (let count = 0; count < 200; count++) {
      const socket = await openSocket(url, "GET /li");
      sockets.push(socket);
      open++;
      socket.read(new Uint8Array(10)).then(() => open--, () => open--);
    }
    await eventually(GRACE_MS, () => Promise.resolve(assert.ok(open <= 40, `${open} are open`)));
    assert.ok(open > 20, `${open} are left`);
    for (let count = 0; count < 10; count++) {
      using honest = await openSocket(url, PROBE);
      const got = await honest.read(new Uint8Array(4_096));
      assert.ok(got !== null && got > 0);
    }
    assert.equal((await publish(url, "t", ["a"])).status, 200);
    for (const socket of sockets) socket.close();
  });
});

Deno.test("broker that may open few files outlives more sockets than that", async () => {
  const wrapper = ["sh", "-c", 'ulimit -n 400; exec "$@"', "sh"];
  await withBroker({ args: [], wrapper }, async ({ url, log }) => {
    const sockets: Deno.TcpConn[] = [];
    for (let count = 0; count < 600; count++) {
      const socket = await openSocket(url).catch(() => null);
      if (socket === null) await pause(20);
      else sockets.push(socket);
    }
    await eventually(GRACE_MS, async () => {
      assert.equal((await publish(url, "t", ["a"])).status, 200, log());
    });
    for (const socket of sockets) socket.close();
  });
});

/** A frame of a client, masked with zeros. */
function frame(options: { opcode: number; isLast: boolean; payload: Uint8Array }): Uint8Array {
  const { opcode, isLast, payload } = options;
  const bytes = new Uint8Array(14 + payload.length);
  bytes[0] = (isLast ? 0x80 : 0) | opcode;
  bytes[1] = 0x80 | 127;
  new DataView(bytes.buffer).setBigUint64(2, BigInt(payload.length));
  bytes.set(payload, 14);
  return bytes;
}

/** A socket that has become a WebSocket of group `g`. */
async function upgraded(url: string): Promise<Deno.TcpConn> {
  const socket = await openSocket(
    url,
    "GET /api/groups/g/stream?topics=t HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\n" +
      "connection: upgrade\r\nsec-websocket-version: 13\r\n" +
      "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  const answer = new Uint8Array(4_096);
  const count = await socket.read(answer);
  assert.match(new TextDecoder().decode(answer.subarray(0, count ?? 0)), /^HTTP\/1.1 101 /);
  return socket;
}

Deno.test("broker ends a WebSocket whose message has no end, before it fills the memory", async () => {
  await withBroker({ args: [] }, async ({ url, pid }) => {
    const before = await residentBytes(pid);
    const attacks = await Promise.all([1, 2, 3].map(async () => {
      const socket = await upgraded(url);
      const payload = new Uint8Array(256 * 1_024);
      let sentBytes = 0;
      try {
        for (let opcode = 2; sentBytes < 2_000 * MIB; opcode = 0) {
          const bytes = frame({ opcode, isLast: false, payload });
          for (let at = 0; at < bytes.length;) at += await socket.write(bytes.subarray(at));
          sentBytes += bytes.length;
        }
      } catch {
        // It was closed.
      }
      socket.close();
      return sentBytes;
    }));
    for (const bytes of attacks) assert.ok(bytes < 2_000 * MIB, "it was never closed");
    const { peak } = await residentBytes(pid);
    assert.ok(peak - before.peak < 600 * MIB, `${Math.round((peak - before.peak) / MIB)} MiB more`);
    assert.equal((await publish(url, "t", ["a"])).status, 200);
  });
});

Deno.test("broker ends a WebSocket whose one message slowly grows beyond its bound", async () => {
  await withBroker({ args: [] }, async ({ url }) => {
    const socket = await upgraded(url);
    const closed = ended(socket, 20_000);
    const payload = new Uint8Array(100_000);
    let sentBytes = 0;
    try {
      for (let opcode = 1; sentBytes < 8 * MIB; opcode = 0) {
        const bytes = frame({ opcode, isLast: false, payload });
        for (let at = 0; at < bytes.length;) at += await socket.write(bytes.subarray(at));
        sentBytes += bytes.length;
        await pause(DRIP_MS);
      }
    } catch {
      // It was closed.
    }
    await closed;
    assert.ok(sentBytes > MIB && sentBytes < 8 * MIB, `it was closed after ${sentBytes} bytes`);
  });
});

Deno.test("broker takes a message in many fragments, with pauses, as long as it is small enough", async () => {
  await withBroker({ args: [] }, async ({ url }) => {
    using socket = await upgraded(url);
    const leave = JSON.stringify({ type: "leave", padding: "x".repeat(900_000) });
    const text = new TextEncoder().encode(leave);
    const step = 100_000;
    for (let at = 0; at < text.length; at += step) {
      const payload = text.subarray(at, at + step);
      const isLast = at + step >= text.length;
      const bytes = frame({ opcode: at === 0 ? 1 : 0, isLast, payload });
      for (let sent = 0; sent < bytes.length;) sent += await socket.write(bytes.subarray(sent));
      await pause(100);
    }
    const buffer = new Uint8Array(65_536);
    let got = "";
    for (let count = await socket.read(buffer); count; count = await socket.read(buffer)) {
      got += new TextDecoder("latin1").decode(buffer.subarray(0, count));
      // A close frame with 1000: 0x88, length, 0x03e8.
      if (got.includes("\x03\xe8left")) return;
    }
    assert.fail(`no close frame: ${got.slice(0, 500)}`);
  });
});
