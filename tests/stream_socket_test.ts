// Tests of the stream over real WebSockets on loopback: handshake, formats, and clients that do not behave.
import assert from "node:assert/strict";
import { decode, encode } from "@msgpack/msgpack";
import { decodeBatch } from "../storage/format/decode.ts";
import { batchSpans } from "../storage/format/record_batch.ts";
import {
  type ConsumingServer,
  consumingServer,
  type ServerOptions,
} from "./support/consuming_server.ts";

function overSockets(
  name: string,
  options: ServerOptions,
  test: (server: ConsumingServer) => Promise<void>,
): void {
  Deno.test(name, async () => {
    const server = await consumingServer(options);
    try {
      await test(server);
      assert.deepEqual(server.faults, []);
    } finally {
      await server.close();
    }
  });
}

// deno-lint-ignore no-explicit-any -- what a test reads out of a frame is checked by its assertions
type Frame = any;

/** A WebSocket whose frames can be waited for. */
class Client {
  readonly frames: Frame[] = [];
  readonly socket: WebSocket;
  readonly closed: Promise<CloseEvent>;
  #wake = () => {};

  constructor(url: string, protocols?: string[]) {
    this.socket = new WebSocket(url, protocols);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => {
      this.frames.push(typeof data === "string" ? JSON.parse(data) : new Uint8Array(data));
      this.#wake();
    };
    this.closed = new Promise((resolve) => this.socket.onclose = resolve);
  }

  async until<T>(find: (frame: Frame) => T | undefined | false): Promise<T> {
    for (;;) {
      for (const frame of this.frames) {
        const found = find(frame);
        if (found) return found;
      }
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  ofType(type: string): Promise<Frame> {
    return this.until((frame) => frame.type === type && frame);
  }

  async leave(): Promise<void> {
    this.socket.send(JSON.stringify({ type: "leave" }));
    assert.equal((await this.closed).code, 1000);
  }
}

const QUERY = "topics=orders&autoOffsetReset=earliest";

overSockets("json frames are text", {}, async (server) => {
  await server.publish(["a", "b"]);
  const client = new Client(server.streamUrl(QUERY));
  const welcome = await client.ofType("welcome");
  assert.match(welcome.memberId, /^[0-9a-f-]{36}$/);
  const { messages } = await client.ofType("messages");
  assert.deepEqual(messages.map(({ value }: Frame) => value), ["a", "b"]);
  client.socket.send(JSON.stringify({
    type: "commit",
    id: "x",
    offsets: [{ topic: "orders", partition: 0, offset: 2 }],
  }));
  assert.equal((await client.ofType("committed")).id, "x");
  await client.leave();
});

overSockets("msgpack frames are binary both ways", {}, async (server) => {
  await server.publish(["a", "b"]);
  const client = new Client(server.streamUrl(`${QUERY}&format=msgpack`));
  const unpacked = (type: string) =>
    client.until((bytes) => {
      assert.ok(bytes instanceof Uint8Array);
      const frame = decode(bytes) as Frame;
      return frame.type === type && frame;
    });
  const { messages } = await unpacked("messages");
  assert.deepEqual(messages.map(({ offset, value }: Frame) => [offset, value]), [[0, "a"], [
    1,
    "b",
  ]]);
  const offsets = [{ topic: "orders", partition: 0, offset: 2 }];
  client.socket.send(encode({ type: "commit", id: 7, offsets }));
  assert.equal((await unpacked("committed")).id, 7);
  client.socket.send(encode({ type: "leave" }));
  assert.equal((await client.closed).code, 1000);
});

overSockets("batch frames hold whole record batches", {}, async (server) => {
  await server.publish(["a", "b", "c"]);
  const client = new Client(server.streamUrl(`${QUERY}&format=batch&maxInFlight=2`));
  await client.ofType("assigned");
  const frame = await client.until((bytes) => bytes instanceof Uint8Array && bytes);
  const headerBytes = new DataView(frame.buffer).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(frame.subarray(4, 4 + headerBytes)));
  assert.deepEqual([header.offset, header.nextOffset, header.highWatermark], [0, 2, 3]);
  const batches = frame.subarray(4 + headerBytes);
  const records = [...batchSpans(batches)].flatMap(({ at }) =>
    decodeBatch(batches, at, { maxDecompressedBytes: 1_000 })
  );
  assert.deepEqual(records.map(({ value }) => new TextDecoder().decode(value!)), ["a", "b", "c"]);
  await client.leave();
});

overSockets("what can be refused is refused before the upgrade", {}, async (server) => {
  const ask = async (path: string, headers: Record<string, string> = {}) => {
    const response = await upgradeRequest(server.port, path, headers);
    return [response.status, /"code":"([A-Z_]+)"/.exec(response.text)?.[1]];
  };
  const path = "/api/groups/billing/stream";
  assert.deepEqual(await ask(`${path}?topics=nothing`), [404, "UNKNOWN_TOPIC"]);
  assert.deepEqual(await ask(path), [400, "INVALID_REQUEST"]);
  for (
    const wrong of ["maxInFlight=0", "maxInFlight=1e3", "format=xml", "sessionTimeoutMs=1", "x=1"]
  ) {
    assert.deepEqual(await ask(`${path}?${QUERY}&${wrong}`), [400, "INVALID_REQUEST"], wrong);
  }
  assert.deepEqual(await ask(`/api/groups/__inside/stream?${QUERY}`), [403, "FORBIDDEN"]);
  const evil = { origin: "https://evil.example" };
  assert.deepEqual(await ask(`${path}?${QUERY}`, evil), [403, "ORIGIN_NOT_ALLOWED"]);
  assert.deepEqual(await ask(`${path}?${QUERY}`, { "sec-websocket-protocol": "mqtt" }), [
    400,
    "INVALID_REQUEST",
  ]);
  const plain = await fetch(`${server.url}${path}?${QUERY}`);
  assert.equal(plain.status, 426);
  assert.equal((await plain.json()).code, "UPGRADE_REQUIRED");
});

overSockets(
  "a page of the broker's own origin, or an allowed one, may connect",
  {},
  async (server) => {
    const path = `/api/groups/billing/stream?${QUERY}`;
    for (const origin of [server.url, "https://console.example"]) {
      const { status } = await upgradeRequest(server.port, path, { origin });
      assert.equal(status, 101, origin);
    }
  },
);

overSockets("browsers send their token as a subprotocol, and are answered with waybill.v1", {
  adminToken: "secret-token",
}, async (server) => {
  const client = new Client(server.streamUrl(QUERY), ["waybill.v1", "bearer.secret-token"]);
  await client.ofType("welcome");
  assert.equal(client.socket.protocol, "waybill.v1");
  await client.leave();
  const path = `/api/groups/billing/stream?${QUERY}`;
  for (const protocols of ["waybill.v1", "waybill.v1, bearer.wrong"]) {
    const headers = { "sec-websocket-protocol": protocols };
    assert.equal((await upgradeRequest(server.port, path, headers)).status, 401);
  }
});

overSockets("a token that no subprotocol can be called by travels in base64url", {
  adminToken: "a/token+of=24/characters",
}, async (server) => {
  const encoded = "YS90b2tlbitvZj0yNC9jaGFyYWN0ZXJz";
  const client = new Client(server.streamUrl(QUERY), ["waybill.v1", `bearer64.${encoded}`]);
  await client.ofType("welcome");
  await client.leave();
  const path = `/api/groups/billing/stream?${QUERY}`;
  for (const protocol of ["bearer64.", "bearer64.!", `bearer.${encoded}`]) {
    const headers = { "sec-websocket-protocol": `waybill.v1, ${protocol}` };
    assert.equal((await upgradeRequest(server.port, path, headers)).status, 401);
  }
});

overSockets("bad frames are told, and closed with 1008 after a few", {
  stream: { maxBadFrames: 2 },
}, async (server) => {
  const client = new Client(server.streamUrl(QUERY));
  await client.ofType("welcome");
  client.socket.send("nonsense");
  assert.equal((await client.ofType("error")).code, "INVALID_REQUEST");
  client.socket.send(new Uint8Array([0xc1, 0xff]));
  assert.equal((await client.closed).code, 1008);
});

overSockets("a client that never reads costs no more than the bound, and others are served", {
  stream: { maxBufferedBytes: 200_000 },
}, async (server) => {
  const value = "x".repeat(10_000);
  for (let batch = 0; batch < 60; batch++) await server.publish(new Array(50).fill(value));
  const path = `/api/groups/stuck/stream?${QUERY}&maxInFlight=100000`;
  const stuck = await rawUpgrade(server.port, path, {});
  const reading = new Client(server.streamUrl(`${QUERY}&maxInFlight=100000&format=msgpack`));
  let bytes = 0;
  await reading.until(() => {
    bytes = reading.frames.reduce((sum: number, frame) => sum + frame.length, 0);
    return bytes > 30_000_000;
  });
  // One turn may go over the bound by its own size.
  assert.ok(server.consuming.counts().bufferedBytes < 200_000 + 2 * 300_000);
  stuck.close();
  reading.socket.close();
  await reading.closed;
});

overSockets("draining closes open sockets with 1012", {}, async (server) => {
  const client = new Client(server.streamUrl(QUERY));
  await client.ofType("assigned");
  await server.consuming.drain();
  assert.equal((await client.closed).code, 1012);
});

interface RawAnswer {
  readonly status: number;
  readonly text: string;
}

/** An upgrade request with any headers; the socket is closed again. */
async function upgradeRequest(
  port: number,
  path: string,
  headers: Record<string, string>,
): Promise<RawAnswer> {
  const connection = await rawUpgrade(port, path, { ...headers, connection: "Upgrade, close" });
  const bytes = new Uint8Array(65_536);
  let text = "";
  try {
    do {
      const count = await connection.read(bytes);
      if (count === null) break;
      text += new TextDecoder().decode(bytes.subarray(0, count));
    } while (
      !text.includes("\r\n\r\n") || (/content-length: [1-9]/i.test(text) && !text.includes("}"))
    );
  } finally {
    connection.close();
  }
  return { status: Number(text.split(" ")[1]), text };
}

async function rawUpgrade(
  port: number,
  path: string,
  headers: Record<string, string>,
): Promise<Deno.TcpConn> {
  const connection = await Deno.connect({ port, hostname: "127.0.0.1" });
  const lines = Object.entries({
    host: `127.0.0.1:${port}`,
    upgrade: "websocket",
    connection: "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  await connection.write(new TextEncoder().encode(`GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`));
  return connection;
}
