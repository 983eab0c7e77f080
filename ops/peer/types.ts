// Owns the words that the parts of this folder share: lanes, bounds, what a connection can do, and its faults.
// Refuses to own any behaviour. Invariant: every queue and wait of this folder has its bound here.
import type { PeerRequest } from "../../actors/cluster/peers.ts";

export type Lane = NonNullable<PeerRequest["lane"]>;
export const LANES: readonly Lane[] = Object.freeze(["control", "data", "replica"]);

/** What of a socket is used. */
export interface PeerSocket {
  read(into: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

export interface PeerBounds {
  /** Of one call or answer, all of it. */
  readonly maxFrameBytes: number;
  /** On one lane to one broker: asked and not answered, those that nobody waits for any more too. */
  readonly maxCalls: number;
  readonly maxCallBytes: number;
  /** Answers of one connection that wait to be written: beyond it no further call of it begins. */
  readonly maxAnswerBytes: number;
  /** Connections that have not proved yet whose they are. */
  readonly maxStrangers: number;
  readonly maxHandshakeBytes: number;
  readonly handshakeMs: number;
  readonly maxConnections: number;
  readonly pingEveryMs: number;
  /** A connection of which nothing was heard for so long is dead. */
  readonly silenceMs: number;
  /** Between two attempts to connect. */
  readonly minBackoffMs: number;
  readonly maxBackoffMs: number;
}

export const PEER_BOUNDS: PeerBounds = Object.freeze({
  maxFrameBytes: 80 * 1_048_576,
  maxCalls: 16_384,
  maxCallBytes: 128 * 1_048_576,
  maxAnswerBytes: 64 * 1_048_576,
  maxStrangers: 64,
  maxHandshakeBytes: 1_024,
  handshakeMs: 3_000,
  maxConnections: 1_024,
  pingEveryMs: 500,
  silenceMs: 2_000,
  minBackoffMs: 50,
  maxBackoffMs: 1_000,
});

/** The other side does not keep to the protocol, or is not who it should be; the connection ends. */
export class PeerProtocolError extends Error {
  override name = "PeerProtocolError";
}

export type PeerReport = (
  event: { readonly level: "info" | "warning" | "error"; message: string; error?: unknown },
) => void;
