// Owns turning an HTTP request into a consuming connection over a WebSocket of Deno.
// Refuses to own who may connect (the guard of the edge) and all that happens on the connection.
// Invariant: whatever becomes of the socket, the hub hears of its end once.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Peer } from "../peer.ts";
import type { StreamRequest } from "./connection_parts.ts";
import type { StreamHub } from "./hub.ts";

/** The subprotocol that browsers name beside `bearer.<token>`. */
export const SUBPROTOCOL = "waybill.v1";

/**
 * Seconds without any frame after which Deno pings, twice: at half of it; without a pong in the other half the socket is
 * closed. It finds connections whose peer is gone; members that are silent are the group's to remove.
 */
const IDLE_TIMEOUT_SECONDS = 60;

/** Throws UPGRADE_REQUIRED unless the request asks for a WebSocket, INVALID_REQUEST for subprotocols that are not ours. */
export function subprotocolOf(request: Request): string | null {
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    throw new BrokerError("UPGRADE_REQUIRED", "this is a WebSocket: send an upgrade request");
  }
  const offered = request.headers.get("sec-websocket-protocol");
  if (offered === null) return null;
  if (offered.split(",").some((name) => name.trim() === SUBPROTOCOL)) return SUBPROTOCOL;
  throw new BrokerError("INVALID_REQUEST", `none of the subprotocols offered is ${SUBPROTOCOL}`);
}

/** Upgrades and hands the connection to the hub. Throws what the hub refuses with, INVALID_REQUEST for a broken handshake. */
export function upgrade(
  { request, peer }: { readonly request: Request; readonly peer: Peer },
  stream: StreamRequest,
  hub: StreamHub,
): Response {
  const protocol = subprotocolOf(request);
  hub.refuseWhenFull(stream.access);
  const { socket, response } = upgraded(request, protocol);
  socket.binaryType = "arraybuffer";
  // Deno says 0 of a socket that is closing, whatever it never sent.
  let bufferedAmount = 0;
  const { connection, gone } = hub.accept(stream, {
    get bufferedAmount() {
      if (socket.readyState === WebSocket.OPEN) bufferedAmount = socket.bufferedAmount;
      return bufferedAmount;
    },
    send: (data) => {
      // Deno throws where browsers are silent: a socket may be closing on its own.
      if (socket.readyState === WebSocket.OPEN) {
        socket.send(data as string | Uint8Array<ArrayBuffer>);
      }
    },
    close: (code, reason) => {
      if (socket.readyState <= WebSocket.OPEN) socket.close(code, reason);
    },
    cut: () => peer.cut?.(),
  });
  socket.onopen = () => void connection.open();
  socket.onmessage = ({ data }) => {
    peer.messageArrived?.();
    connection.receive(typeof data === "string" ? data : new Uint8Array(data as ArrayBuffer));
  };
  socket.onclose = () => void gone();
  // What broke is told by the close event that follows.
  socket.onerror = (event) => event.preventDefault();
  return response;
}

function upgraded(request: Request, protocol: string | null): Deno.WebSocketUpgrade {
  try {
    return Deno.upgradeWebSocket(request, {
      idleTimeout: IDLE_TIMEOUT_SECONDS,
      ...(protocol === null ? {} : { protocol }),
    });
  } catch (cause) {
    throw new BrokerError("INVALID_REQUEST", "the WebSocket handshake is malformed", {}, { cause });
  }
}
