// Owns how two brokers prove to each other that they know the cluster's secret, before anything else is said.
// Refuses to own what follows; without TLS that is neither hidden from nor protected against whoever sits on the way.
// Invariant: a proof is for these two nonces, nodes, cluster, lane and role only: said again, or said back, it proves
// nothing; whoever was dialled proves itself only to one that has, and refuses without a word.
import { Decoder, encode } from "@msgpack/msgpack";
import type { FrameReader } from "./frames.ts";
import { type Lane, LANES, PeerProtocolError, type PeerSocket } from "./types.ts";

/** Raised when proofs are made otherwise. */
const PROTOCOL = "waybill-peer-1";
const NONCE_BYTES = 32;
/** Secrets shorter than this can be guessed from a proof. */
export const MIN_SECRET_CHARS = 16;
const MAX_NAME_CHARS = 249;

const hostile = new Decoder({
  maxStrLength: MAX_NAME_CHARS * 4,
  maxBinLength: NONCE_BYTES,
  maxArrayLength: 8,
  maxMapLength: 0,
  maxExtLength: 0,
});

/** What both sides of a connection say it is. */
export interface PeerTie {
  readonly cluster: string;
  /** Who dials whom. */
  readonly from: string;
  readonly to: string;
  readonly lane: Lane;
}

export interface HandshakeEnds {
  readonly reader: FrameReader;
  readonly socket: Pick<PeerSocket, "write">;
  readonly key: CryptoKey;
  readonly maxBytes: number;
}

interface Nonces {
  readonly dialer: Uint8Array;
  readonly dialled: Uint8Array;
}

/** Throws for a secret that is too short. */
export async function secretKey(secret: string): Promise<CryptoKey> {
  if (secret.length < MIN_SECRET_CHARS) {
    throw new Error(`the secret of peers needs ${MIN_SECRET_CHARS} characters or more`);
  }
  const bytes = new TextEncoder().encode(secret);
  const use: KeyUsage[] = ["sign", "verify"];
  return await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, use);
}

/** Rejects with PeerProtocolError when the other side is not `tie.to`, or does not take this one for `tie.from`. */
export async function proveAsDialer(ends: HandshakeEnds, tie: PeerTie): Promise<void> {
  const dialer = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  await send(ends, [PROTOCOL, tie.cluster, tie.from, tie.to, tie.lane, dialer]);
  const [dialled] = await receive(ends, 1);
  if (!isNonce(dialled)) throw new PeerProtocolError("the answer to a handshake is none");
  const nonces = { dialer, dialled };
  await send(ends, [await proof(ends.key, "dialer", { tie, nonces })]);
  const [theirs] = await receive(ends, 1);
  await check(ends.key, "dialled", { tie, nonces, theirs });
}

/** Who has dialled, once it has proved it; rejects with PeerProtocolError, and nothing but a nonce was said. */
export async function proveAsDialled(
  ends: HandshakeEnds,
  { cluster, nodeId }: { readonly cluster: string; readonly nodeId: string },
): Promise<PeerTie> {
  const [protocol, theirCluster, from, to, lane, dialer] = await receive(ends, 6);
  if (protocol !== PROTOCOL || !isNonce(dialer) || !isName(from) || !isLane(lane)) {
    throw new PeerProtocolError("this is no handshake of a peer");
  }
  if (theirCluster !== cluster || to !== nodeId || from === nodeId) {
    throw new PeerProtocolError("the handshake is meant for another broker");
  }
  const tie = { cluster, from, to: nodeId, lane };
  const nonces = { dialer, dialled: crypto.getRandomValues(new Uint8Array(NONCE_BYTES)) };
  await send(ends, [nonces.dialled]);
  const [theirs] = await receive(ends, 1);
  await check(ends.key, "dialer", { tie, nonces, theirs });
  await send(ends, [await proof(ends.key, "dialled", { tie, nonces })]);
  return tie;
}

type Role = "dialer" | "dialled";

/** MessagePack keeps the parts apart: no two ties have the same words. */
function words(role: Role, { cluster, from, to, lane }: PeerTie, nonces: Nonces) {
  return Uint8Array.from(
    encode([PROTOCOL, role, cluster, from, to, lane, nonces.dialer, nonces.dialled]),
  );
}

async function proof(
  key: CryptoKey,
  role: Role,
  { tie, nonces }: { readonly tie: PeerTie; readonly nonces: Nonces },
): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, words(role, tie, nonces)));
}

async function check(
  key: CryptoKey,
  role: Role,
  { tie, nonces, theirs }: {
    readonly tie: PeerTie;
    readonly nonces: Nonces;
    readonly theirs: unknown;
  },
): Promise<void> {
  const bytes = theirs instanceof Uint8Array ? Uint8Array.from(theirs) : new Uint8Array();
  // Compares in constant time.
  if (await crypto.subtle.verify("HMAC", key, bytes, words(role, tie, nonces))) return;
  throw new PeerProtocolError("the other side does not know the secret of this cluster");
}

async function send({ socket }: HandshakeEnds, data: readonly unknown[]): Promise<void> {
  const body = encode(data);
  const frame = new Uint8Array(4 + body.length);
  new DataView(frame.buffer).setUint32(0, body.length);
  frame.set(body, 4);
  for (let written = 0; written < frame.length;) {
    written += await socket.write(frame.subarray(written));
  }
}

async function receive({ reader, maxBytes }: HandshakeEnds, count: number): Promise<unknown[]> {
  const frame = await reader.next(maxBytes);
  if (frame === null) throw new PeerProtocolError("the other side has hung up");
  let data: unknown;
  try {
    data = hostile.decode(frame);
  } catch (error) {
    throw new PeerProtocolError("a handshake cannot be read", { cause: error });
  }
  if (Array.isArray(data) && data.length === count) return data;
  throw new PeerProtocolError("a handshake says something else");
}

function isNonce(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && value.length === NONCE_BYTES;
}

function isName(value: unknown): value is string {
  return typeof value === "string" && value.length > 0 && value.length <= MAX_NAME_CHARS;
}

function isLane(value: unknown): value is Lane {
  return LANES.includes(value as Lane);
}
