// Owns clients that do harm, or just nothing, on bare sockets, for as long as their process lives.
// Refuses to own what it costs others (hostile.ts measures that). Invariant: what the broker closes comes back, after a pause.
import type { HostileSpec } from "./load_spec.ts";

/** Connections that are opened at the same time. */
const OPENING_AT_ONCE = 100;
/** A socket that was refused or closed comes back within this, each in its own time: attackers keep no step. */
const COME_BACK_MS = 10_000;
/** Between two bytes of one that sends slowly. */
const TRICKLE_MS = 1_000;
/** Between two signs of life. */
const HEARTBEAT_MS = 5_000;
const FRAGMENT_BYTES = 65_536;
const READ_BYTES = 4_096;
const TEXT_FRAME = 1;
const CONTINUATION_FRAME = 0;

const encoder = new TextEncoder();

/** What one socket does once it is open; it resolves when the broker closed it. */
type Behaviour = (socket: Deno.TcpConn, spec: HostileSpec, index: number) => Promise<void>;

const BEHAVIOURS: Readonly<Record<HostileSpec["attack"], Behaviour>> = {
  "idle sockets": (socket) => untilClosed(socket),
  slowloris: (socket, spec, index) => trickle(socket, slowRequest(spec, index)),
  "consumers that never read": neverRead,
  "endless fragments": endlessFragments,
};

/** Says one line when every socket has been tried once. */
export async function runHostile(spec: HostileSpec): Promise<never> {
  for (let from = 0; from < spec.sockets; from += OPENING_AT_ONCE) {
    const count = Math.min(OPENING_AT_ONCE, spec.sockets - from);
    await Promise.all(Array.from({ length: count }, (_, index) => begin(spec, from + index)));
  }
  console.log("ready");
  return await new Promise<never>(() => {});
}

/** Resolves when the first socket is open, or refused; goes on in the background. */
async function begin(spec: HostileSpec, index: number): Promise<void> {
  const socket = await open(spec.url);
  void (async () => {
    for (let current = socket;; current = await open(spec.url)) {
      if (current !== null) {
        await BEHAVIOURS[spec.attack](current, spec, index).catch(() => undefined);
        close(current);
      }
      await pause(Math.random() * COME_BACK_MS);
    }
  })();
}

async function open(url: string): Promise<Deno.TcpConn | null> {
  const { hostname, port } = new URL(url);
  try {
    return await Deno.connect({ hostname, port: Number(port) });
  } catch {
    return null;
  }
}

async function untilClosed(socket: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(READ_BYTES);
  while (await socket.read(buffer) !== null);
}

/** One half of them are slow within the head, the others within the body. */
function slowRequest(spec: HostileSpec, index: number): { at: number; bytes: Uint8Array } {
  const head = `POST /api/messages:publish HTTP/1.1\r\nhost: 127.0.0.1\r\n`;
  const rest = `content-type: application/json\r\ncontent-length: 100000\r\n\r\n`;
  const body = JSON.stringify({ topic: spec.topic, messages: [{ value: "x".repeat(99_900) }] });
  const at = index % 2 === 0 ? head.length : head.length + rest.length;
  return { at, bytes: encoder.encode(head + rest + body) };
}

async function trickle(
  socket: Deno.TcpConn,
  { at, bytes }: { at: number; bytes: Uint8Array },
): Promise<void> {
  let closed = false;
  const reading = untilClosed(socket).finally(() => closed = true);
  reading.catch(() => undefined);
  await send(socket, bytes.subarray(0, at));
  for (let next = at; next < bytes.length && !closed; next++) {
    await send(socket, bytes.subarray(next, next + 1));
    await Promise.race([pause(TRICKLE_MS), reading.catch(() => undefined)]);
  }
  await reading;
}

/** Joins a group of its own, asks for as much as there can be, and reads nothing but the answer to the upgrade. */
async function neverRead(socket: Deno.TcpConn, spec: HostileSpec, index: number): Promise<void> {
  await upgrade(socket, `${joining(spec, index)}&autoOffsetReset=earliest`);
  // Signs of life: it stays a member. Sending fails once the broker has closed it.
  for (;;) {
    await send(socket, frame(TEXT_FRAME, encoder.encode('{"type":"heartbeat"}'), true));
    await pause(HEARTBEAT_MS);
  }
}

/** One message in pieces, of which none is the last. */
async function endlessFragments(
  socket: Deno.TcpConn,
  spec: HostileSpec,
  index: number,
): Promise<void> {
  await upgrade(socket, `${joining(spec, index)}&autoOffsetReset=latest`);
  const reading = untilClosed(socket);
  reading.catch(() => undefined);
  const piece = new Uint8Array(FRAGMENT_BYTES).fill(0x20);
  await send(socket, frame(TEXT_FRAME, piece, false));
  const next = frame(CONTINUATION_FRAME, piece, false);
  for (;;) await send(socket, next);
}

function joining({ topic }: HostileSpec, index: number): string {
  return `/api/groups/hostile-${index}/stream?topics=${topic}&maxInFlight=100000&format=batch`;
}

async function upgrade(socket: Deno.TcpConn, path: string): Promise<void> {
  await send(
    socket,
    encoder.encode(
      `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n` +
        "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n" +
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ),
  );
  const answer = new Uint8Array(READ_BYTES);
  const count = await socket.read(answer);
  const status = new TextDecoder().decode(answer.subarray(0, count ?? 0)).slice(9, 12);
  if (status !== "101") throw new Error(`the upgrade was answered with ${status}`);
}

/** A client's frame (RFC 6455, 5.2) of at most 65,536 bytes; its mask is zero, so that it need not be applied. */
function frame(opcode: number, payload: Uint8Array, isLast: boolean): Uint8Array {
  const short = payload.length < 126;
  const headerBytes = short ? 6 : 14;
  const bytes = new Uint8Array(headerBytes + payload.length);
  bytes[0] = (isLast ? 0x80 : 0) | opcode;
  bytes[1] = 0x80 | (short ? payload.length : 127);
  if (!short) new DataView(bytes.buffer).setBigUint64(2, BigInt(payload.length));
  bytes.set(payload, headerBytes);
  return bytes;
}

async function send(socket: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await socket.write(bytes.subarray(at));
}

function close(socket: Deno.TcpConn): void {
  try {
    socket.close();
  } catch {
    // It is closed already.
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
