// Owns which networks are not the public internet: where nothing goes that somebody else has named.
// Refuses to own who is let through in spite of that (rules.ts).
// Invariant: an address that is not known to be public is not; IPv6 outside of 2000::/3 never is.
import { isWithin, parseIp } from "../ip_address.ts";

export interface Network {
  readonly address: Uint8Array;
  readonly bits: number;
}

/** `10.0.0.0/8`, or a single address; null when it is neither. Bits behind the prefix have to be zero. */
export function parseNetwork(text: string): Network | null {
  const [address, length, ...rest] = text.split("/");
  const bytes = parseIp(address!);
  if (bytes === null || rest.length > 0) return null;
  const most = bytes.length * 8;
  if (length === undefined) return { address: bytes, bits: most };
  if (!/^\d{1,3}$/.test(length) || Number(length) > most) return null;
  const bits = Number(length);
  const hasRest = bytes.some((byte, at) => (byte & ~mask(bits - 8 * at) & 0xff) !== 0);
  return hasRest ? null : { address: bytes, bits };
}

/** The first `bits` of a byte. */
function mask(bits: number): number {
  return bits >= 8 ? 0xff : bits <= 0 ? 0 : (0xff << (8 - bits)) & 0xff;
}

/** Special-purpose addresses (RFC 6890 and IANA's registries), multicast, and what carries IPv4 inside of IPv6. */
const SPECIAL = [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"],
  ...["172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"],
  ...["192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"],
  ...["198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"],
  ...["2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"],
].map(knownNetwork);
const GLOBAL_UNICAST = knownNetwork("2000::/3");

/** Whether packets to `address` leave for the public internet. */
export function isPublic(address: Uint8Array): boolean {
  if (address.length === 16 && !holds(GLOBAL_UNICAST, address)) return false;
  return !SPECIAL.some((network) => holds(network, address));
}

export function holds({ address: network, bits }: Network, address: Uint8Array): boolean {
  return isWithin(address, network, bits);
}

function knownNetwork(text: string): Network {
  const network = parseNetwork(text);
  if (network === null) throw new Error(`${text} is no network`);
  return network;
}
