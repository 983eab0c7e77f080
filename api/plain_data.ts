// Owns what data from outside may consist of, once it is parsed: bounded depth, exact numbers, well-formed text.
// Refuses to own parsing (json_text.ts, msgpack_bytes.ts) or shapes (the schemas of the routes).
// Invariant: data that passes can be stored as JSON text and read back as the same data.
import { BrokerError } from "../storage/broker_error.ts";

/** One fault of a request. `path` looks like `messages[3].headers.trace`; empty for the whole. */
export interface Fault {
  readonly path: string;
  readonly message: string;
}

/** INVALID_REQUEST with the faults in `errors`; the first makes the detail. */
export function invalidRequest(faults: readonly Fault[], cause?: unknown): BrokerError {
  const first = faults[0]!;
  const { path } = first;
  const shown = path.length > MAX_DETAIL_PATH_CHARS
    ? `${path.slice(0, MAX_DETAIL_PATH_CHARS)}…`
    : path;
  const where = path === "" ? "" : `${shown}: `;
  return new BrokerError("INVALID_REQUEST", `${where}${first.message}`, { errors: faults }, {
    cause,
  });
}

/** REQUEST_TOO_LARGE of a body within its bytes that is made of too many parts. */
export function tooManyNodes(maxNodes: number): BrokerError {
  const message = `the body has more than ${maxNodes} keys, arrays and objects`;
  return new BrokerError("REQUEST_TOO_LARGE", message, { maxNodes });
}

/** `["messages", 3, "key"]` as `messages[3].key`. */
export function pathText(path: readonly PropertyKey[]): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else text += text === "" ? String(part) : `.${String(part)}`;
  }
  return text.slice(0, MAX_PATH_CHARS);
}

/** Keys come from the caller: a fault repeats no more of them than this. */
const MAX_PATH_CHARS = 200;
/** Of these the detail, which people read, has fewer; `errors` has them all. */
const MAX_DETAIL_PATH_CHARS = 60;

/** What an inspection found out beside that nothing is wrong. */
export interface Inspected {
  /** Keys of all objects together. */
  readonly keyCount: number;
  /** Numbers that look like integers beyond 2^53 - 1: their text may have said more. */
  readonly unsafeIntegers: number;
}

type Path = readonly (string | number)[];

/** Options of an inspection. */
export interface InspectOptions {
  readonly maxDepth: number;
  /** Where data of any shape may stand, bytes (a Uint8Array, from MessagePack) too; default nowhere. */
  readonly freeFormAt?: (path: Path) => boolean;
  /** Most items of an array and keys of an object outside of free form, checked before a schema looks at each; default any. */
  readonly maxItems?: number;
  readonly maxKeys?: number;
  /** Most keys, arrays and objects together, free form or not, checked before anything is parsed; default any. */
  readonly maxNodes?: number;
}

/**
 * Walks parsed data. Throws INVALID_REQUEST with the path of: nesting deeper than `maxDepth`, numbers that are not finite,
 * text or keys with lone surrogates, keys named `__proto__`, bytes, long arrays or many keys where free form is not allowed.
 */
export function inspectData(data: unknown, options: InspectOptions): Inspected {
  const walk = new Inspection(options);
  walk.value(data, 0);
  return walk;
}

const EXPONENT = /^(-?\d)(?:\.(\d+))?e\+(\d+)$/;

/**
 * Whether the double `value` says the integer `digits` when it is written out again: what is stored is the shortest text
 * of the double, so 2^60 given with all its digits would come back as another integer.
 */
export function writtenAs(value: number, digits: bigint): boolean {
  const text = String(value);
  const [, first, rest = "", exponent] = EXPONENT.exec(text) ?? [];
  if (first === undefined) return BigInt(text) === digits;
  return BigInt(first + rest.padEnd(Number(exponent), "0")) === digits;
}

class Inspection implements Inspected {
  keyCount = 0;
  unsafeIntegers = 0;
  readonly #path: (string | number)[] = [];
  readonly #maxDepth: number;
  readonly #maxItems: number;
  readonly #maxKeys: number;
  readonly #freeFormAt: (path: Path) => boolean;

  constructor(options: InspectOptions) {
    this.#maxDepth = options.maxDepth;
    this.#maxItems = options.maxItems ?? Infinity;
    this.#maxKeys = options.maxKeys ?? Infinity;
    this.#freeFormAt = options.freeFormAt ?? (() => false);
  }

  value(value: unknown, depth: number): void {
    if (typeof value === "string") {
      if (!value.isWellFormed()) throw this.#fault("text with a lone surrogate has no UTF-8");
    } else if (typeof value === "number") this.#number(value);
    else if (typeof value === "object" && value !== null) {
      if (value instanceof Uint8Array) return this.#bytes();
      if (depth === this.#maxDepth) {
        throw this.#fault(`nested deeper than ${this.#maxDepth} levels`);
      }
      if (Array.isArray(value)) this.#array(value, depth + 1);
      else this.#object(value as Record<string, unknown>, depth + 1);
    }
  }

  #bytes(): void {
    if (!this.#freeFormAt(this.#path)) throw this.#fault("bytes are not allowed here");
  }

  #number(value: number): void {
    if (!Number.isFinite(value)) throw this.#fault("a number must be finite and fit a double");
    if (Number.isInteger(value) && !Number.isSafeInteger(value)) this.unsafeIntegers++;
  }

  #array(values: readonly unknown[], depth: number): void {
    if (values.length > this.#maxItems && !this.#withinFreeForm()) {
      throw this.#fault(`has ${values.length} items, at most ${this.#maxItems} are allowed`);
    }
    for (let index = 0; index < values.length; index++) {
      this.#path.push(index);
      this.value(values[index], depth);
      this.#path.pop();
    }
  }

  #object(value: Record<string, unknown>, depth: number): void {
    let keys = 0;
    for (const key in value) {
      if (keys++ === this.#maxKeys && !this.#withinFreeForm()) {
        throw this.#fault(`has more than ${this.#maxKeys} keys`);
      }
      this.#path.push(key);
      if (key === "__proto__") throw this.#fault("this key is not allowed");
      if (!key.isWellFormed()) throw this.#fault("a key with a lone surrogate has no UTF-8");
      this.value(value[key], depth);
      this.#path.pop();
    }
    this.keyCount += keys;
  }

  /** Asked only where a bound was passed: the walk itself does not know where it is. */
  #withinFreeForm(): boolean {
    return this.#path.some((_, index) => this.#freeFormAt(this.#path.slice(0, index + 1)));
  }

  #fault(message: string): BrokerError {
    return invalidRequest([{ path: pathText(this.#path), message }]);
  }
}
