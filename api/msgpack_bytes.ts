// Owns parsing MessagePack of strangers strictly: its structure is checked in full before anything is allocated for it.
// Refuses to own shapes and reading bytes.
// Invariant: what is decoded is no larger than a constant times the body, whatever lengths the body claims.
import { decode } from "@msgpack/msgpack";
import type { BrokerError } from "../storage/broker_error.ts";
import {
  inspectData,
  type InspectOptions,
  invalidRequest,
  tooManyNodes,
  writtenAs,
} from "./plain_data.ts";
import { utf8Text } from "./utf8_text.ts";

/** Longer texts are checked by the engine, shorter ones by a loop that is cheaper than the call. */
const SHORT_TEXT_BYTES = 64;

/**
 * The data of MessagePack `bytes`. Throws INVALID_REQUEST for malformed or cut off bodies, extension types, keys that are
 * not text or occur twice, invalid UTF-8, 64-bit integers that a double cannot carry exactly, and all that `inspectData` refuses.
 */
export function parseMsgpack(bytes: Uint8Array, options: InspectOptions): unknown {
  const keyCount = new StructureCheck(bytes, options).run();
  const data = decodeChecked(bytes);
  if (inspectData(data, options).keyCount !== keyCount) {
    throw fault("the MessagePack body has a duplicate key in a map");
  }
  return data;
}

function decodeChecked(bytes: Uint8Array): unknown {
  try {
    return decode(bytes);
  } catch (cause) {
    // A key named __proto__ is the one thing that the check lets pass and the decoder does not.
    throw invalidRequest([{ path: "", message: "the body is not valid MessagePack" }], cause);
  }
}

function fault(message: string): BrokerError {
  return invalidRequest([{ path: "", message }]);
}

/** Walks the bytes once without building anything (format: github.com/msgpack/msgpack/blob/master/spec.md). */
class StructureCheck {
  #at = 0;
  #keyCount = 0;
  /** Values (and keys) that are still owed to each open array or map, innermost last; maps owe an even number. */
  readonly #owed: number[] = [];
  readonly #isMap: boolean[] = [];
  readonly #view: DataView;

  readonly #maxDepth: number;
  readonly #maxNodes: number;
  #nodes = 0;

  constructor(readonly bytes: Uint8Array, options: InspectOptions) {
    this.#maxDepth = options.maxDepth;
    this.#maxNodes = options.maxNodes ?? Infinity;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Number of keys of all maps together. */
  run(): number {
    if (this.bytes.length === 0) throw fault("the body is empty");
    this.#item();
    while (this.#owed.length > 0) {
      const top = this.#owed.length - 1;
      const left = this.#owed[top]!;
      if (left === 0) {
        this.#owed.pop();
        this.#isMap.pop();
        continue;
      }
      this.#owed[top] = left - 1;
      if (this.#isMap[top] && left % 2 === 0) this.#key();
      else this.#item();
    }
    if (this.#at !== this.bytes.length) throw this.#malformed("there is something after the end");
    return this.#keyCount;
  }

  #key(): void {
    const type = this.bytes[this.#at] ?? 0xc1;
    const isText = (type >= 0xa0 && type <= 0xbf) || (type >= 0xd9 && type <= 0xdb);
    if (!isText) throw this.#malformed("a key must be text");
    this.#keyCount++;
    this.#item();
  }

  #item(): void {
    const type = this.#unsigned(1);
    if (type <= 0x7f || type >= 0xe0 || type === 0xc0 || type === 0xc2 || type === 0xc3) return;
    if (type <= 0x8f) this.#open(2 * (type & 0x0f), true);
    else if (type <= 0x9f) this.#open(type & 0x0f, false);
    else if (type <= 0xbf) this.#text(type & 0x1f);
    else if (type >= 0xc4 && type <= 0xc6) this.#skip(this.#unsigned(1 << (type - 0xc4)));
    else if (type === 0xca || type === 0xcb) this.#skip(type === 0xca ? 4 : 8);
    else if (type === 0xcf || type === 0xd3) this.#integer64(type === 0xd3);
    else if (type >= 0xcc && type <= 0xce) this.#skip(1 << (type - 0xcc));
    else if (type >= 0xd0 && type <= 0xd2) this.#skip(1 << (type - 0xd0));
    else if (type >= 0xd9 && type <= 0xdb) this.#text(this.#unsigned(1 << (type - 0xd9)));
    else if (type === 0xdc || type === 0xdd) {
      this.#open(this.#unsigned(type === 0xdc ? 2 : 4), false);
    } else if (type === 0xde || type === 0xdf) {
      this.#open(2 * this.#unsigned(type === 0xde ? 2 : 4), true);
    } else throw this.#malformed("extension types are not supported");
  }

  #open(items: number, isMap: boolean): void {
    if (this.#owed.length === this.#maxDepth) {
      throw fault(`the body is nested deeper than ${this.#maxDepth} levels`);
    }
    this.#nodes += isMap ? 1 + items / 2 : 1;
    if (this.#nodes > this.#maxNodes) throw tooManyNodes(this.#maxNodes);
    this.#owed.push(items);
    this.#isMap.push(isMap);
  }

  #text(length: number): void {
    const start = this.#at;
    this.#skip(length);
    if (length <= SHORT_TEXT_BYTES && this.#isAscii(start, this.#at)) return;
    if (utf8Text(this.bytes.subarray(start, this.#at)) === null) {
      throw this.#malformed("text is not valid UTF-8");
    }
  }

  #isAscii(from: number, to: number): boolean {
    for (let at = from; at < to; at++) if (this.bytes[at]! > 0x7f) return false;
    return true;
  }

  #integer64(signed: boolean): void {
    const start = this.#at;
    this.#skip(8);
    const value = signed ? this.#view.getBigInt64(start) : this.#view.getBigUint64(start);
    if (!writtenAs(Number(value), value)) {
      throw fault("an integer beyond 2^53 - 1 that a double cannot carry exactly");
    }
  }

  #skip(length: number): void {
    if (length > this.bytes.length - this.#at) throw this.#malformed("it is cut off");
    this.#at += length;
  }

  #unsigned(size: number): number {
    const at = this.#at;
    this.#skip(size);
    if (size === 1) return this.#view.getUint8(at);
    return size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #malformed(what: string): BrokerError {
    return fault(`the body is not valid MessagePack at byte ${this.#at}: ${what}`);
  }
}
