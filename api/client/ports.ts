// Owns what the client needs of its surroundings, and the real ones as defaults.
// Refuses to own any use of them; no `Deno.*` and no `node:` here, so that it loads in a browser.
// Invariant: everything else under `client/` reaches time, chance and the network through these alone.
import type { Clock, Crc32c, Randomness, Timers } from "../../storage/ports.ts";
import { crc32c as pureCrc32c } from "../../storage/format/crc32c.ts";

/** As much of the standard `fetch` as is used. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** As much of the standard WebSocket as is used; `ws` of npm fits as well. */
export interface WebSocketLike {
  binaryType: string;
  readonly readyState: number;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: string, listener: (event: never) => void): void;
}

export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

/** A CRC that starts as the portable one and may be replaced by a faster one that computes the same. */
export interface CrcPort {
  readonly crc32c: Crc32c;
}

export interface ClientPorts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly randomness: Randomness;
  readonly crc: CrcPort;
}

export interface PortOptions {
  readonly crc32c?: Crc32c;
  readonly clock?: Clock;
  readonly timers?: Timers;
  readonly randomness?: Randomness;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

export const systemTimers: Timers = {
  after(delayMs, run) {
    const id = setTimeout(run, delayMs);
    return () => clearTimeout(id);
  },
};

export const systemRandomness: Randomness = {
  uuid: () => crypto.randomUUID(),
  fraction: () => Math.random(),
};

/** The ports handed in, and the real ones for the rest. */
export function resolvePorts(options: PortOptions): ClientPorts {
  return {
    clock: options.clock ?? systemClock,
    timers: options.timers ?? systemTimers,
    randomness: options.randomness ?? systemRandomness,
    crc: options.crc32c === undefined ? nativeCrcWhenFound() : { crc32c: options.crc32c },
  };
}

/** One attempt per process: the native CRC either exists or does not. */
let nativeCrc: Promise<Crc32c | null> | null = null;

function nativeCrcWhenFound(): CrcPort {
  const port = { crc32c: pureCrc32c };
  nativeCrc ??= loadNativeCrc();
  nativeCrc.then((found) => {
    if (found !== null) port.crc32c = found;
  });
  return port;
}

async function loadNativeCrc(): Promise<Crc32c | null> {
  // Browsers have no native modules; asking there would only put a failed request into the console.
  if (!("Deno" in globalThis) && !("process" in globalThis)) return null;
  // The name is put together at run time, so that no bundler pulls the native module in.
  const name = ["@node-rs", "crc32"].join("/");
  try {
    const native = await import(/* @vite-ignore */ /* webpackIgnore: true */ name) as {
      crc32c: Crc32c;
    };
    return native.crc32c(new Uint8Array([49, 50, 51])) === pureCrc32c(new Uint8Array([49, 50, 51]))
      ? native.crc32c
      : null;
  } catch {
    return null;
  }
}
