// Owns what only the kernel knows of a server's sockets, and what only it can do to them: the runtime's server tells of
// requests, not of connections, has no time-outs for half-sent headers, and cannot be told to end one connection.
// Refuses to own any decision. Linux alone: elsewhere `openKernel` is null, and the door says what is not watched.
// Invariant: everything here is synchronous on the thread whose server owns the sockets, so that between asking whose a
// descriptor is and acting on it nobody can have closed it.
import { ipText, unmapped } from "../ip_address.ts";

const SYMBOLS = {
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  dup3: { parameters: ["i32", "i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
} as const;

/** Numbers of Linux, the same on x86-64 and arm64. */
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SHUT_RDWR = 2;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_ACCEPTCONN = 30;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const RLIMIT_NOFILE = 7;
const FIONREAD = 0x541bn;
const O_CLOEXEC = 0o2000000;
/** A `struct sockaddr` of family AF_UNSPEC. */
const NO_ADDRESS = new Uint8Array(16);
/** Offsets in `struct tcp_info` (linux/tcp.h), which only ever grows at its end. */
const INFO = { lastSent: 44, lastReceived: 52, acked: 120, received: 128, notSent: 144, out: 156 };
const INFO_BYTES = 160;

/** What the kernel counts of a connection. Times are how long ago, ms; since it was accepted when nothing came yet. */
export interface Traffic {
  readonly lastSentMs: number;
  readonly lastReceivedMs: number;
  /** What the other end has acknowledged. */
  readonly ackedBytes: number;
  readonly receivedBytes: number;
  /** Written here, but not yet sent: the other end does not read. */
  readonly notSentBytes: number;
  /** Segments with data that were sent. */
  readonly segmentsOut: number;
}

/** The other end of a connection. `id` names address and port. */
export interface RemoteEnd {
  readonly id: string;
  readonly address: string;
  /** IPv6 only: the network of the address, which one customer has whole. */
  readonly network: string;
}

/** As far as others see it. */
export type Kernel = { readonly [Name in keyof LinuxKernel]: LinuxKernel[Name] };

/** Null where this is not Linux, or its C library cannot be had. */
export function openKernel(): Kernel | null {
  if (Deno.build.os !== "linux") return null;
  try {
    return new LinuxKernel(Deno.dlopen("libc.so.6", SYMBOLS).symbols);
  } catch {
    return null;
  }
}

class LinuxKernel {
  readonly #name = new Uint8Array(128);
  readonly #nameView = new DataView(this.#name.buffer);
  readonly #length = new Uint32Array(1);
  readonly #info = new Uint8Array(256);
  readonly #infoView = new DataView(this.#info.buffer);

  constructor(private readonly libc: Deno.StaticForeignLibraryInterface<typeof SYMBOLS>) {}

  /** How many descriptors this process may have open. */
  maxOpenFiles(): number {
    const limits = new BigUint64Array(2);
    if (this.libc.getrlimit(RLIMIT_NOFILE, limits) !== 0) return 1024;
    return Number(limits[0]! > 10_000_000n ? 10_000_000n : limits[0]!);
  }

  /**
   * Number that changes when the descriptor becomes another TCP connection, nearly always; 0 when it is none. Much
   * cheaper than `remoteEnd`.
   */
  fingerprint(fd: number): number {
    this.#length[0] = this.#name.length;
    if (this.libc.getpeername(fd, this.#name, this.#length) !== 0) return 0;
    const family = this.#nameView.getUint16(0, true);
    const port = this.#nameView.getUint16(2);
    if (family === AF_INET) return port * 0x100000000 + this.#nameView.getUint32(4);
    if (family !== AF_INET6) return 0;
    let mixed = 0;
    for (let at = 8; at < 24; at += 4) mixed = (mixed * 31 + this.#nameView.getUint32(at)) >>> 0;
    return port * 0x100000000 + mixed;
  }

  /** The other end of a connection; null when the descriptor is none. */
  remoteEnd(fd: number): RemoteEnd | null {
    this.#length[0] = this.#name.length;
    if (this.libc.getpeername(fd, this.#name, this.#length) !== 0) return null;
    const family = this.#nameView.getUint16(0, true);
    if (family !== AF_INET && family !== AF_INET6) return null;
    const bytes = family === AF_INET ? this.#name.slice(4, 8) : unmapped(this.#name.slice(8, 24));
    const address = ipText(bytes);
    const network = bytes.length === 4 ? address : ipText(bytes.fill(0, 8));
    return { id: endId(address, this.#nameView.getUint16(2)), address, network };
  }

  /** The port at this end; 0 when the descriptor is no TCP socket. */
  localPort(fd: number): number {
    this.#length[0] = this.#name.length;
    if (this.libc.getsockname(fd, this.#name, this.#length) !== 0) return 0;
    const family = this.#nameView.getUint16(0, true);
    return family === AF_INET || family === AF_INET6 ? this.#nameView.getUint16(2) : 0;
  }

  /** Whether the descriptor is a listening socket. */
  isListening(fd: number): boolean {
    this.#length[0] = 4;
    if (this.libc.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, this.#info, this.#length) !== 0) {
      return false;
    }
    return this.#infoView.getUint32(0, true) === 1;
  }

  /** Null when the descriptor is no TCP connection, or the kernel is older than these counters. */
  traffic(fd: number): Traffic | null {
    this.#length[0] = this.#info.length;
    if (this.libc.getsockopt(fd, IPPROTO_TCP, TCP_INFO, this.#info, this.#length) !== 0) {
      return null;
    }
    if (this.#length[0]! < INFO_BYTES) return null;
    const view = this.#infoView;
    return {
      lastSentMs: view.getUint32(INFO.lastSent, true),
      lastReceivedMs: view.getUint32(INFO.lastReceived, true),
      ackedBytes: Number(view.getBigUint64(INFO.acked, true)),
      receivedBytes: Number(view.getBigUint64(INFO.received, true)),
      notSentBytes: view.getUint32(INFO.notSent, true),
      segmentsOut: view.getUint32(INFO.out, true),
    };
  }

  /**
   * Makes the kernel take about `bytes` for a connection ahead of this process. What sends without end fills no more of
   * one turn of the event loop than that.
   */
  limitReceiveBuffer(fd: number, bytes: number): void {
    // The kernel doubles it, for its own bookkeeping (socket(7)).
    const half = new Uint32Array([Math.ceil(bytes / 2)]);
    this.libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, half, 4);
  }

  /** Bytes that have arrived and that this process has not read. */
  unreadBytes(fd: number): number {
    const count = new Int32Array(1);
    return this.libc.ioctl(fd, FIONREAD, count) === 0 ? count[0]! : 0;
  }

  /** Ends a connection as a server does that has nothing to say; whoever has it here sees that, and closes it. */
  end(fd: number): void {
    this.libc.shutdown(fd, SHUT_RDWR);
  }

  /** Breaks a connection off, with all that is in its buffers: whoever reads or writes it, at either end, gets an error. */
  reset(fd: number): void {
    // What connects a socket to no address dissolves its association (connect(2)); TCP resets the other end then.
    this.libc.connect(fd, NO_ADDRESS, NO_ADDRESS.length);
  }

  /**
   * Takes the listening socket from behind a descriptor and leaves one there that nobody can reach, so that the server
   * that has it goes on with its connections and accepts no more. Its owner closes the descriptor as ever.
   */
  retireListener(fd: number): void {
    const nothing = this.libc.socket(AF_INET, SOCK_STREAM | O_CLOEXEC, 0);
    if (nothing < 0) throw new Error("no socket can be made to take a listener's place");
    const taken = this.libc.dup3(nothing, fd, O_CLOEXEC);
    this.libc.close(nothing);
    if (taken !== fd) throw new Error(`listener ${fd} cannot be retired`);
  }
}

/** The `id` of a remote end, from its address as `ipText` writes it. */
export function endId(address: string, port: number): string {
  return `${address} ${port}`;
}
