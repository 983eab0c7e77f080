// Owns what the HTTP edge knows of the connection that a request came on, and what it tells whoever keeps that connection.
// Refuses to own the connection: how long it may last and how much it may send is decided there (ops/door).
// Invariant: nothing here costs a request anything unless it is asked for.

/** The other end of the connection of a request; second argument of `App.fetch`. What Deno.serve hands its handler fits. */
export interface Peer {
  /** Where the request came from; only while it is under way. */
  readonly remoteAddr?: Deno.Addr;
  /** Its connection may carry many requests at once (HTTP/2), each with an answer that waits to be read. */
  readonly isMultiplexed?: boolean;
  /** The body of this request has arrived whole, or nobody waits for it any more. */
  bodyRead?(): void;
  /** A whole message has come on the WebSocket that this request became. */
  messageArrived?(): void;
  /** The client of that WebSocket does not answer that it was closed: the connection is to be broken off. */
  cut?(): void;
}

/** Of a request that came on no connection: tests. */
export const NO_PEER: Peer = Object.freeze({});

const UNKNOWN_ADDRESS = "unknown";

/** The IP address of the other end; "unknown" when there is none. */
export function remoteAddressOf(peer: Peer): string {
  const address = peer.remoteAddr;
  return address !== undefined && "hostname" in address ? address.hostname : UNKNOWN_ADDRESS;
}
