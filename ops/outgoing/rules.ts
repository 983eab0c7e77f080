// Owns whom this broker may call on behalf of others: the list of allowed hosts, and what of an address is checked.
// Refuses to own calling (guarded_fetch.ts). Pure.
// Invariant: what is not listed is refused; being listed by name opens public addresses only, a private one has to be
// listed as an address or network itself.
import { ipText, parseIp } from "../ip_address.ts";
import { holds, isPublic, type Network, parseNetwork } from "./networks.ts";

/** A call is not made; the message says why, without anything of the URL's path or query. */
export class OutgoingRefusedError extends Error {
  override name = "OutgoingRefusedError";
}

/** Where a call goes: what of its URL has passed. */
export interface Target {
  readonly url: URL;
  /** Lower case, without brackets. */
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
}

interface AllowedHost {
  readonly name: string;
  /** Null: the scheme's own. */
  readonly port: number | null;
}

const DEFAULT_PORTS: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 };
const HOST = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/;
const WITH_PORT = /^(.+):(\d{1,5})$/;

/** The list of allowed hosts. */
export class OutgoingRules {
  readonly #hosts: AllowedHost[] = [];
  readonly #networks: Network[] = [];

  /**
   * Entries: `hooks.example.com` (the scheme's port), `hooks.example.com:8443`, `*.example.com` (names below it, not
   * itself), an address, or a network as `10.1.0.0/16` (any port). Throws Error with the entry that is none of these.
   */
  constructor(allowed: readonly string[]) {
    for (const entry of allowed) this.#add(entry);
  }

  /** Throws OutgoingRefusedError unless `url` may be called, as far as its text tells. */
  target(url: string): Target {
    const parsed = URL.parse(url);
    if (parsed === null) throw new OutgoingRefusedError("this is no URL");
    const { protocol, username, password } = parsed;
    const defaultPort = DEFAULT_PORTS[protocol];
    if (defaultPort === undefined) {
      throw new OutgoingRefusedError(`${protocol} is neither http: nor https:`);
    }
    if (username !== "" || password !== "") {
      throw new OutgoingRefusedError("a URL with a password in it is not called");
    }
    const host = parsed.hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "").toLowerCase();
    const port = parsed.port === "" ? defaultPort : Number(parsed.port);
    if (!this.#allows(host, port, port === defaultPort)) {
      throw new OutgoingRefusedError(
        `host ${host} port ${port} is not on the list of allowed hosts`,
      );
    }
    return { url: parsed, host, port, isTls: protocol === "https:" };
  }

  /**
   * Throws OutgoingRefusedError unless the address that the target's name stands for may be called: a public one with
   * TLS, or one whose network is listed.
   */
  checkAddress({ host, isTls }: Target, address: string): void {
    const bytes = parseIp(address);
    if (bytes !== null && this.#networks.some((network) => holds(network, bytes))) return;
    const shown = bytes === null ? "no address" : ipText(bytes);
    if (bytes === null || !isPublic(bytes)) {
      throw new OutgoingRefusedError(
        `host ${host} is ${shown}, which is not public and not listed`,
      );
    }
    if (!isTls) throw new OutgoingRefusedError(`host ${host} is public: https only`);
  }

  #allows(host: string, port: number, isDefaultPort: boolean): boolean {
    const bytes = parseIp(host);
    if (bytes !== null) return this.#networks.some((network) => holds(network, bytes));
    return this.#hosts.some(({ name, port: allowed }) =>
      (allowed === null ? isDefaultPort : allowed === port) &&
      (name.startsWith("*.") ? host.endsWith(name.slice(1)) : host === name)
    );
  }

  #add(entry: string): void {
    const network = parseNetwork(entry);
    if (network !== null) {
      this.#networks.push(network);
      return;
    }
    const [, host = entry, port] = WITH_PORT.exec(entry) ?? [];
    const name = host.toLowerCase();
    const isName = HOST.test(name.startsWith("*.") ? name.slice(2) : name);
    // What looks like a number is an address to some resolvers.
    if (!isName || /^[\d.]+$|^0x/.test(name) || Number(port ?? 1) > 65_535 || Number(port) === 0) {
      throw new Error(`${JSON.stringify(entry)} is neither a host, an address nor a network`);
    }
    this.#hosts.push({ name, port: port === undefined ? null : Number(port) });
  }
}
