// Owns IP addresses as bytes: parsing their text, the text of their bytes, and which of two forms are the same address.
// Refuses to own what an address may do (door/, outgoing/).
// Invariant: an IPv4 address has one form, 4 bytes, also when it comes mapped into IPv6.

const V4_PART = /^(?:0|[1-9]\d{0,2})$/;
const V6_PART = /^[0-9a-f]{1,4}$/i;
const V6_PARTS = 8;
/** ::ffff:0:0/96 (RFC 4291, 2.5.5.2). */
const MAPPED_PREFIX = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/** 4 or 16 bytes of an address as text, without port, brackets or zone; null when it is none. */
export function parseIp(text: string): Uint8Array | null {
  const bytes = text.includes(":") ? parseV6(text) : parseV4(text);
  return bytes === null ? null : unmapped(bytes);
}

/** The bytes of an IPv4 address that is mapped into IPv6; any other address as it is. */
export function unmapped(bytes: Uint8Array): Uint8Array {
  const isMapped = bytes.length === 16 && MAPPED_PREFIX.every((byte, at) => bytes[at] === byte);
  return isMapped ? bytes.slice(12) : bytes;
}

/** One text an address: dotted for IPv4, all eight groups in hexadecimal for IPv6. */
export function ipText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups: string[] = [];
  for (let at = 0; at < 16; at += 2) {
    groups.push(((bytes[at]! << 8) | bytes[at + 1]!).toString(16));
  }
  return groups.join(":");
}

/** Whether `address` lies in the first `bits` of `network`; never across the two families. */
export function isWithin(address: Uint8Array, network: Uint8Array, bits: number): boolean {
  if (address.length !== network.length) return false;
  const whole = bits >> 3;
  for (let at = 0; at < whole; at++) if (address[at] !== network[at]) return false;
  const rest = bits & 7;
  return rest === 0 || ((address[whole]! ^ network[whole]!) >> (8 - rest)) === 0;
}

function parseV4(text: string): Uint8Array | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  // Leading zeros are octal to some, so they are nothing here.
  if (!parts.every((part) => V4_PART.test(part) && Number(part) <= 255)) return null;
  return Uint8Array.from(parts, Number);
}

function parseV6(text: string): Uint8Array | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const head = groupsOf(halves[0]!, halves.length === 1);
  const tail = groupsOf(halves[1] ?? "", true);
  if (head === null || tail === null) return null;
  const missing = V6_PARTS - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return null;
  const bytes = new Uint8Array(16);
  [...head, ...Array<number>(missing).fill(0), ...tail].forEach((group, index) => {
    bytes[2 * index] = group >> 8;
    bytes[2 * index + 1] = group & 0xff;
  });
  return bytes;
}

/** 16-bit groups; a dotted IPv4 address at the end of the whole counts for two. */
function groupsOf(text: string, isEnd: boolean): number[] | null {
  if (text === "") return [];
  const parts = text.split(":");
  const groups: number[] = [];
  for (const [index, part] of parts.entries()) {
    if (V6_PART.test(part)) {
      groups.push(parseInt(part, 16));
      continue;
    }
    const dotted = isEnd && index === parts.length - 1 ? parseV4(part) : null;
    if (dotted === null) return null;
    groups.push((dotted[0]! << 8) | dotted[1]!, (dotted[2]! << 8) | dotted[3]!);
  }
  return groups;
}
