// Owns one bare HTTP/1.1 connection that sends ready-made requests: a load generator must cost less than what it loads.
// Refuses to own what is sent and timing. Invariant: one request at a time on one connection; an answer is read whole.

const BUFFER_BYTES = 256 * 1024;
const encoder = new TextEncoder();
const latin1 = new TextDecoder("latin1");

/** A request as bytes, head and body. */
export function requestBytes(options: {
  method: string;
  path: string;
  contentType: string;
  body: Uint8Array;
  /** Bearer token; left out: none. */
  token?: string | undefined;
}): Uint8Array {
  const { method, path, contentType, body, token } = options;
  const authorization = token === undefined ? "" : `authorization: Bearer ${token}\r\n`;
  const head = encoder.encode(
    `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: ${contentType}\r\ncontent-length: ${body.length}\r\n${authorization}\r\n`,
  );
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return bytes;
}

export class HttpConnection {
  readonly #buffer = new Uint8Array(BUFFER_BYTES);

  private constructor(private readonly connection: Deno.TcpConn) {}

  static async open(url: string): Promise<HttpConnection> {
    const { hostname, port } = new URL(url);
    const connection = await Deno.connect({ hostname, port: Number(port) });
    connection.setNoDelay();
    return new HttpConnection(connection);
  }

  /** Sends a request and reads its answer; resolves to the status. Answers must have a content-length. */
  async send(request: Uint8Array): Promise<number> {
    let at = 0;
    while (at < request.length) at += await this.connection.write(request.subarray(at));
    let got = await this.#read(0);
    let head = this.#head(got);
    while (head === null) {
      got += await this.#read(got);
      head = this.#head(got);
    }
    let remaining = head.totalBytes - got;
    while (remaining > 0) remaining -= await this.#read(0);
    return head.status;
  }

  close(): void {
    this.connection.close();
  }

  async #read(at: number): Promise<number> {
    const count = await this.connection.read(this.#buffer.subarray(at));
    if (count === null) throw new Error("the broker closed the connection");
    return count;
  }

  #head(got: number): { status: number; totalBytes: number } | null {
    const text = latin1.decode(this.#buffer.subarray(0, Math.min(got, 4096)));
    const end = text.indexOf("\r\n\r\n");
    if (end < 0) return null;
    const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, end + 2));
    if (length === null) throw new Error(`an answer without content-length: ${text.slice(0, end)}`);
    return { status: Number(text.slice(9, 12)), totalBytes: end + 4 + Number(length[1]) };
  }
}
