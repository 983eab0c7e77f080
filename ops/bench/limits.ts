// Owns measuring what this machine itself can do: disk writes with sync, sync latency, loopback bandwidth.
// Refuses to own anything of a broker. Invariant: limits use the same disk and the same loopback as the figures they bound.
import { Samples } from "./quantiles.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const LARGE_WRITES = 256;
const SMALL_WRITES = 1_000;
const LOOPBACK_CHUNK_BYTES = 256 * KIB;
const LOOPBACK_CHUNKS = 8_000;

export interface Limits {
  /** Appending 1 MiB and syncing it, again and again: MB (10^6 bytes) a second. */
  readonly diskMegabytesPerSecond: number;
  /** Appending 4 KiB and syncing it, ms. */
  readonly syncMs: { readonly p50: number; readonly p99: number };
  /** One TCP connection over loopback, MB a second. */
  readonly loopbackMegabytesPerSecond: number;
}

/** Measures all limits; `directory` lies on the disk that the broker will use. */
export async function measureLimits(directory: string): Promise<Limits> {
  return {
    diskMegabytesPerSecond: await diskBandwidth(directory, MIB),
    syncMs: await syncLatency(directory),
    loopbackMegabytesPerSecond: await loopbackBandwidth(),
  };
}

/** MB a second of appends of `writeBytes`, each followed by fdatasync. */
export async function diskBandwidth(directory: string, writeBytes: number): Promise<number> {
  return await withFile(directory, async (file) => {
    const bytes = filler(writeBytes);
    const started = performance.now();
    for (let i = 0; i < LARGE_WRITES; i++) {
      await writeAll(file, bytes);
      await file.syncData();
    }
    return megabytesPerSecond(LARGE_WRITES * writeBytes, performance.now() - started);
  });
}

async function syncLatency(directory: string): Promise<{ p50: number; p99: number }> {
  return await withFile(directory, async (file) => {
    const bytes = filler(4 * KIB);
    const samples = new Samples(SMALL_WRITES);
    for (let i = 0; i < SMALL_WRITES; i++) {
      const started = performance.now();
      await writeAll(file, bytes);
      await file.syncData();
      samples.add(performance.now() - started);
    }
    return samples.latency();
  });
}

/** The sender is a process of its own, as a client of the broker is. */
async function loopbackBandwidth(): Promise<number> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const sender = new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `const c = await Deno.connect({ port: ${port} }); const b = new Uint8Array(${LOOPBACK_CHUNK_BYTES});` +
      `for (let i = 0; i < ${LOOPBACK_CHUNKS}; i++) { let at = 0; while (at < b.length) at += await c.write(b.subarray(at)); } c.close();`,
    ],
  }).spawn();
  const connection = await listener.accept();
  const buffer = new Uint8Array(LOOPBACK_CHUNK_BYTES);
  const started = performance.now();
  let received = 0;
  for (;;) {
    const count = await connection.read(buffer);
    if (count === null) break;
    received += count;
  }
  const ms = performance.now() - started;
  connection.close();
  listener.close();
  await sender.status;
  return megabytesPerSecond(received, ms);
}

export function megabytesPerSecond(bytes: number, ms: number): number {
  return bytes / 1_000 / ms;
}

function filler(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = at * 31;
  return bytes;
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  let at = 0;
  while (at < bytes.length) at += await file.write(bytes.subarray(at));
}

async function withFile<T>(
  directory: string,
  measure: (file: Deno.FsFile) => Promise<T>,
): Promise<T> {
  const path = await Deno.makeTempFile({ dir: directory });
  const file = await Deno.open(path, { write: true });
  try {
    return await measure(file);
  } finally {
    file.close();
    await Deno.remove(path);
  }
}
