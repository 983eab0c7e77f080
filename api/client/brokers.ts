// Owns which brokers a client knows, whose turn it is, and whom to leave alone for a while because it did not answer.
// Refuses to own asking them (cluster_transport.ts, stream_link.ts) and what may be asked again.
// Invariant: a broker that was handed in is never forgotten, and with a single one it is always its turn.
import type { Clock, Randomness } from "../../storage/ports.ts";
import { WaybillError } from "./errors.ts";

/** A broker that could not be reached is passed over for so long, as long as there is another. */
export const AVOIDED_MS = 5_000;
/** The same for one that was learnt and has never answered: this side may not be able to reach it at all. */
export const UNPROVEN_AVOIDED_MS = 60_000;
/** Brokers that are remembered beside those handed in. */
export const MAX_LEARNED_BROKERS = 100;
/** Addresses to listen at and not to connect to. */
const EVERYWHERE = new Set(["0.0.0.0", "::", "[::]", ""]);
/** On the machine of whoever reads it: of use only to clients that are on the broker's own. */
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/;

/** A broker as the cluster tells of it. */
export interface LearnedBroker {
  readonly nodeId: string;
  readonly host: string | null;
  readonly port: number | null;
}

export class Brokers {
  readonly #given: readonly string[];
  readonly #clock: Pick<Clock, "monotonic">;
  #learned: readonly string[] = [];
  #byNode: ReadonlyMap<string, string> = new Map();
  #current: string;
  /** Those that were learnt and have answered. */
  readonly #proven = new Set<string>();
  /** Monotonic ms until when a broker is passed over. */
  readonly #avoidedUntil = new Map<string, number>();

  /** `urls`: at least one; where it begins is drawn, so that clients spread. INVALID_REQUEST for none. */
  constructor(
    urls: readonly string[],
    { clock, randomness }: {
      readonly clock: Pick<Clock, "monotonic">;
      readonly randomness: Pick<Randomness, "fraction">;
    },
  ) {
    this.#given = [...new Set(urls.map((url) => url.replace(/\/+$/, "")))];
    this.#clock = clock;
    if (this.#given.length === 0) {
      const detail = "a client needs the address of a broker";
      throw new WaybillError("INVALID_REQUEST", detail, { retryable: false });
    }
    const { length } = this.#given;
    this.#current = this.#given[length === 1 ? 0 : Math.floor(randomness.fraction() * length)]!;
  }

  /** Whether there is more than one to ask. */
  get several(): boolean {
    return this.#given.length + this.#learned.length > 1;
  }

  /** Whose turn it is. */
  get next(): string {
    return this.inTurn()[0]!;
  }

  /** All of them, `first` before the others if it is known; those that did not answer lately come last. */
  inTurn(first: string | null = null): readonly string[] {
    if (!this.several) return this.#given;
    const all = this.#all();
    const start = Math.max(0, all.indexOf(this.#current));
    const rotated = [...all.slice(start), ...all.slice(0, start)];
    const urls = first === null ? rotated : [...new Set([first, ...rotated])];
    return [
      ...urls.filter((url) => !this.#isAvoided(url)),
      ...urls.filter((url) => this.#isAvoided(url)),
    ];
  }

  /** Whether another than `url` may answer. */
  hasOther(url: string): boolean {
    return this.#all().some((other) => other !== url && !this.#isAvoided(other));
  }

  /** Its address; null while it is not known. */
  urlOf(nodeId: string): string | null {
    return this.#byNode.get(nodeId) ?? null;
  }

  /** Whether it is known from the cluster alone. */
  isLearned(url: string): boolean {
    return !this.#given.includes(url);
  }

  answered(url: string): void {
    this.#avoidedUntil.delete(url);
    if (this.isLearned(url)) this.#proven.add(url);
  }

  /** It was not reached, or is about to end. */
  failed(url: string): void {
    if (!this.several) return;
    const isUnproven = this.isLearned(url) && !this.#proven.has(url);
    const forMs = isUnproven ? UNPROVEN_AVOIDED_MS : AVOIDED_MS;
    this.#avoidedUntil.set(url, this.#clock.monotonic() + forMs);
    this.passOver(url);
  }

  /** It answers, but cannot help now: the next request goes to another one. */
  passOver(url: string): void {
    if (url !== this.#current) return;
    const all = this.#all();
    this.#current = all[(all.indexOf(url) + 1) % all.length]!;
    this.#current = this.next;
  }

  /** In the place of what was learnt before. A cluster of one teaches nothing: its address is known, and may be a proxy's. */
  learned(brokers: readonly LearnedBroker[]): void {
    const byNode = new Map<string, string>();
    if (brokers.length > 1) {
      const { protocol } = new URL(this.#given[0]!);
      const isHere = this.#given.some((url) => LOOPBACK.test(new URL(url).hostname));
      for (const { nodeId, host, port } of brokers.slice(0, MAX_LEARNED_BROKERS)) {
        if (host === null || port === null || EVERYWHERE.has(host)) continue;
        if (LOOPBACK.test(host) && !isHere) continue;
        const name = host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
        byNode.set(nodeId, `${protocol}//${name}:${port}`);
      }
    }
    this.#byNode = byNode;
    this.#learned = [...byNode.values()].filter((url) => !this.#given.includes(url));
    const all = this.#all();
    for (const url of this.#avoidedUntil.keys()) {
      if (!all.includes(url)) this.#avoidedUntil.delete(url);
    }
    for (const url of this.#proven) if (!all.includes(url)) this.#proven.delete(url);
    if (!all.includes(this.#current)) this.#current = this.next;
  }

  #all(): readonly string[] {
    return [...this.#given, ...this.#learned];
  }

  #isAvoided(url: string): boolean {
    return (this.#avoidedUntil.get(url) ?? -Infinity) > this.#clock.monotonic();
  }
}
