// Owns the bytes of one message between brokers: kind, id, plain data, and byte arrays behind them as they are.
// Refuses to own sockets and what data mean.
// Invariant: whatever the bytes, decoding ends with data or a fault, and reads nothing beyond them.
import { Decoder, Encoder, ExtensionCodec } from "@msgpack/msgpack";
import { PeerProtocolError } from "./types.ts";

/** Of the first byte. Part of the protocol: numbers never change their meaning. */
export const KIND = Object.freeze({
  request: 1,
  answer: 2,
  failure: 3,
  cancel: 4,
  ping: 5,
  pong: 6,
});

/** Byte arrays from this size on are not copied into the head. */
export const ATTACHED_FROM_BYTES = 1_024;
/** Kind (1), id (4), length of the head (4). */
const PREFIX_BYTES = 9;
const LENGTH_BYTES = 4;
const ATTACHMENT = 1;
const MAX_DEPTH = 100;

interface Attached {
  readonly parts: Uint8Array[];
  bytes: number;
}

const attached: { outgoing: Attached; incoming: Uint8Array } = {
  outgoing: { parts: [], bytes: 0 },
  incoming: new Uint8Array(),
};

const extensionCodec = new ExtensionCodec();
extensionCodec.register({
  type: ATTACHMENT,
  encode: (value) => {
    if (!(value instanceof Uint8Array)) return refuseUnlessPlain(value);
    if (value.length < ATTACHED_FROM_BYTES) return null;
    const { outgoing } = attached;
    const place = new Uint8Array(8);
    const view = new DataView(place.buffer);
    view.setUint32(0, outgoing.bytes);
    view.setUint32(4, value.length);
    outgoing.parts.push(value);
    outgoing.bytes += value.length;
    return place;
  },
  decode: (place) => {
    if (place.length !== 8) throw new PeerProtocolError("a byte array has no place");
    const view = new DataView(place.buffer, place.byteOffset, place.length);
    const from = view.getUint32(0);
    const to = from + view.getUint32(4);
    if (to > attached.incoming.length) throw new PeerProtocolError("a byte array is not there");
    return attached.incoming.subarray(from, to);
  },
});
const encoder = new Encoder({ extensionCodec, ignoreUndefined: true, maxDepth: MAX_DEPTH });
const decoder = new Decoder({ extensionCodec });

/** MessagePack would take a Map or an Error for an object without fields. */
function refuseUnlessPlain(value: unknown): null {
  if (Array.isArray(value) || typeof value !== "object" || value === null) return null;
  const prototype = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return null;
  throw new Error(`only plain data cross to a peer, not a ${value.constructor.name}`);
}

/** What is written, in this order: the length of the rest comes first. */
export interface EncodedMessage {
  readonly parts: readonly Uint8Array[];
  readonly bytes: number;
}

/** Throws for what is no plain data. Byte arrays of some size are not copied: nobody may write to them afterwards. */
export function encodeMessage(kind: number, id: number, data?: unknown): EncodedMessage {
  const outgoing: Attached = attached.outgoing = { parts: [], bytes: 0 };
  const head = data === undefined ? new Uint8Array() : encoder.encodeSharedRef(data);
  const prefixed = new Uint8Array(LENGTH_BYTES + PREFIX_BYTES + head.length);
  const view = new DataView(prefixed.buffer);
  const bytes = PREFIX_BYTES + head.length + outgoing.bytes;
  view.setUint32(0, bytes);
  view.setUint8(4, kind);
  view.setUint32(5, id);
  view.setUint32(9, head.length);
  prefixed.set(head, LENGTH_BYTES + PREFIX_BYTES);
  return { parts: [prefixed, ...outgoing.parts], bytes: LENGTH_BYTES + bytes };
}

export interface MessagePrefix {
  readonly kind: number;
  readonly id: number;
}

/** `frame`: what comes after the length. */
export function prefixOf(frame: Uint8Array): MessagePrefix {
  if (frame.length < PREFIX_BYTES) throw new PeerProtocolError("a message is too short");
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  return { kind: view.getUint8(0), id: view.getUint32(1) };
}

/** The data of a message whose prefix is whole. Its byte arrays are views of `frame`. */
export function dataOf(frame: Uint8Array): unknown {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const headBytes = view.getUint32(5);
  if (headBytes > frame.length - PREFIX_BYTES) {
    throw new PeerProtocolError("a message is shorter than it says");
  }
  attached.incoming = frame.subarray(PREFIX_BYTES + headBytes);
  try {
    return decoder.decode(frame.subarray(PREFIX_BYTES, PREFIX_BYTES + headBytes));
  } finally {
    attached.incoming = new Uint8Array();
  }
}
