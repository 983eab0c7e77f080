// Owns measuring JSON text before it is parsed: depth, number of keys, integers that a double would change.
// Refuses to own whether the text is JSON at all (JSON.parse says that) and what it means.
// Invariant: one pass, no recursion, no allocation; of valid JSON the figures are exact.
import { invalidRequest, pathText, tooManyNodes, writtenAs } from "./plain_data.ts";

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
/** 2^53 - 1 has 16 digits: no shorter integer can be one that a double does not hold. */
const MIN_UNSAFE_CHARS = 16;

/** What a scan found. */
export interface JsonMeasures {
  /** Keys of all objects together, duplicates too. */
  readonly keyCount: number;
  /** Where the first integer stands that would be written out as another; -1 where there is none. */
  readonly inexactAt: number;
}

/** Bounds of a scan. */
export interface ScanLimits {
  readonly maxDepth: number;
  /** Most keys, arrays and objects together; default any. */
  readonly maxNodes?: number;
}

/**
 * Measures `text`. Throws INVALID_REQUEST with the path where it is nested deeper than `maxDepth`, REQUEST_TOO_LARGE for
 * too many nodes: to parse that first would take time and memory many times what its size lets expect. Jumps over strings with `indexOf`, since a loop over every character of a long
 * value would cost more than parsing.
 */
export function scanJson(text: string, { maxDepth, maxNodes }: ScanLimits): JsonMeasures {
  const mostNodes = maxNodes ?? Infinity;
  let nodes = 0;
  let depth = 0;
  let keyCount = 0;
  let inexactAt = -1;
  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = afterString(text, at);
      if (text.charCodeAt(at) !== COLON) continue;
      keyCount++;
      if (++nodes > mostNodes) throw tooManyNodes(mostNodes);
    } else if (code === OPEN_LIST || code === OPEN_OBJECT) {
      if (++nodes > mostNodes) throw tooManyNodes(mostNodes);
      if (++depth > maxDepth) {
        throw fault(text, at, `nested deeper than ${maxDepth} levels`);
      }
      at++;
    } else if (code === CLOSE_LIST || code === CLOSE_OBJECT) {
      depth--;
      at++;
    } else if (isNumberPart(code)) {
      const start = at;
      while (isNumberPart(text.charCodeAt(++at)));
      if (at - start < MIN_UNSAFE_CHARS || inexactAt !== -1) continue;
      if (changes(text.slice(start, at))) inexactAt = start;
    } else at++;
  }
  return { keyCount, inexactAt };
}

/** Throws INVALID_REQUEST with the path of the integer at `inexactAt`. */
export function refuseInexact(text: string, inexactAt: number): void {
  if (inexactAt === -1) return;
  throw fault(text, inexactAt, "an integer beyond 2^53 - 1 that a double cannot carry exactly");
}

/** Behind the string that opens at `open`, and behind white space after it; the end of the text when it does not close. */
function afterString(text: string, open: number): number {
  let close = text.indexOf('"', open + 1);
  while (close !== -1 && text.charCodeAt(close - 1) === BACKSLASH && isEscaped(text, close)) {
    close = text.indexOf('"', close + 1);
  }
  if (close === -1) return text.length;
  let after = close + 1;
  while (isSpace(text.charCodeAt(after))) after++;
  return after;
}

function isEscaped(text: string, at: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes++;
  return backslashes % 2 === 1;
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

/** Digits, signs, points and exponents. */
function isNumberPart(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || code === MINUS || code === 0x2b || code === 0x2e ||
    code === 0x45 || code === 0x65;
}

/** Whether the number is an integer that would be stored as another; one beyond every double is refused elsewhere. */
function changes(number: string): boolean {
  if (!/^-?\d+$/.test(number)) return false;
  const value = Number(number);
  return Number.isFinite(value) && !Number.isSafeInteger(value) &&
    !writtenAs(value, BigInt(number));
}

function fault(text: string, at: number, message: string): Error {
  return invalidRequest([{ path: pathText(pathAt(text, at)), message }]);
}

/** Keys and indexes that lead to the value that starts at `target`. */
function pathAt(text: string, target: number): (string | number)[] {
  const path: (string | number)[] = [];
  for (let at = 0; at < target;) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      const open = at;
      at = afterString(text, at);
      if (text.charCodeAt(at) === COLON) path[path.length - 1] = keyAt(text, open, at);
      continue;
    }
    const last = path.at(-1);
    if (code === OPEN_LIST) path.push(0);
    else if (code === OPEN_OBJECT) path.push("");
    else if (code === CLOSE_LIST || code === CLOSE_OBJECT) path.pop();
    else if (code === COMMA && typeof last === "number") path[path.length - 1] = last + 1;
    at++;
  }
  return path;
}

function keyAt(text: string, open: number, end: number): string {
  try {
    return JSON.parse(text.slice(open, end));
  } catch {
    return "?";
  }
}
