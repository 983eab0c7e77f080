// Owns bytes on a socket to a broker: requests no HTTP client would send, and what comes back.
// Refuses to own what should come back. Invariant: every exchange is bounded in time and in what it keeps.
const MAX_ANSWER_CHARS = 100_000;

export interface RawAnswer {
  /** 0 when the socket was closed, or stayed silent, without an answer. */
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
  /** The socket was closed by the other side. */
  readonly closed: boolean;
  /** Bytes that could be sent before the answer was there. */
  readonly sentBytes: number;
  readonly ms: number;
}

/** A socket to the broker, with `text` sent on it. */
export async function openSocket(url: string, text = ""): Promise<Deno.TcpConn> {
  const { hostname, port } = new URL(url);
  const socket = await Deno.connect({ hostname, port: Number(port) });
  try {
    await sendAll(socket, [new TextEncoder().encode(text)]);
  } catch (error) {
    socket.close();
    throw error;
  }
  return socket;
}

/** Sends pieces until there is an answer or none is left; the first answer. */
export async function exchange(
  url: string,
  pieces: string | Uint8Array | Iterable<Uint8Array>,
  timeoutMs = 10_000,
): Promise<RawAnswer> {
  const start = performance.now();
  const socket = await openSocket(url);
  const sent = { bytes: 0, stopped: false };
  const sending = sendAll(socket, piecesOf(pieces), sent).catch(() => undefined);
  const timer = setTimeout(() => close(socket), timeoutMs);
  const { text, closed } = await answerText(socket);
  clearTimeout(timer);
  sent.stopped = true;
  close(socket);
  await sending;
  return { ...parsed(text), closed, sentBytes: sent.bytes, ms: performance.now() - start };
}

/** A request with its length, that asks to close the connection. */
export function request(
  line: string,
  options: { body?: string | Uint8Array; headers?: Readonly<Record<string, string>> } = {},
): Uint8Array {
  const encoder = new TextEncoder();
  const { body } = options;
  const bytes = typeof body === "string" ? encoder.encode(body) : body ?? new Uint8Array(0);
  const headers = {
    host: "127.0.0.1",
    connection: "close",
    ...(body === undefined ? {} : { "content-length": String(bytes.length) }),
    ...options.headers,
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = encoder.encode(`${line} HTTP/1.1\r\n${lines.join("")}\r\n`);
  const whole = new Uint8Array(head.length + bytes.length);
  whole.set(head);
  whole.set(bytes, head.length);
  return whole;
}

function piecesOf(pieces: string | Uint8Array | Iterable<Uint8Array>): Iterable<Uint8Array> {
  if (typeof pieces === "string") return [new TextEncoder().encode(pieces)];
  return pieces instanceof Uint8Array ? [pieces] : pieces;
}

async function sendAll(
  socket: Deno.TcpConn,
  pieces: Iterable<Uint8Array>,
  sent = { bytes: 0, stopped: false },
): Promise<void> {
  for (const piece of pieces) {
    for (let at = 0; at < piece.length && !sent.stopped;) {
      const count = await socket.write(piece.subarray(at));
      at += count;
      sent.bytes += count;
    }
    if (sent.stopped) return;
  }
}

async function answerText(socket: Deno.TcpConn): Promise<{ text: string; closed: boolean }> {
  const decoder = new TextDecoder("latin1");
  const buffer = new Uint8Array(65_536);
  let text = "";
  while (text.length < MAX_ANSWER_CHARS && !isWhole(text)) {
    const count = await socket.read(buffer).catch((error) =>
      error instanceof Deno.errors.ConnectionReset ? null : -1
    );
    if (count === null) return { text, closed: true };
    if (count === -1) return { text, closed: false };
    text += decoder.decode(buffer.subarray(0, count));
  }
  return { text, closed: false };
}

function isWhole(text: string): boolean {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return false;
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, end + 2))?.[1];
  return length !== undefined && text.length >= end + 4 + Number(length);
}

function parsed(text: string): Pick<RawAnswer, "status" | "headers" | "body"> {
  const end = text.indexOf("\r\n\r\n");
  const [first, ...lines] = text.slice(0, Math.max(end, 0)).split("\r\n");
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first ?? "")?.[1] ?? 0);
  const headers = new Map(lines.map((line) => {
    const at = line.indexOf(":");
    return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()];
  }));
  return { status, headers, body: end === -1 ? "" : text.slice(end + 4) };
}

function close(socket: Deno.TcpConn): void {
  try {
    socket.close();
  } catch {
    // It is closed already.
  }
}
