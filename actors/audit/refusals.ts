// Owns counting what was refused, so that an attacker fills no disk: one entry at once, the rest of a minute in a second one.
// Refuses to own writing entries (audit_log.ts) and what is refused.
// Invariant: at most `MAX_COUNTED` of a minute are told apart, by source, resource and operation, and `MAX_OF_SOURCE` of one
// source; all others of that minute are one.
import type { AuditFacts, AuditRefusal, AuditResource } from "./types.ts";

export const REFUSAL_WINDOW_MS = 60_000;
/** Refusals that are told apart within a minute: 200 entries a minute at most, whoever asks how often. */
const MAX_COUNTED = 100;
/** Of them those of one address and principal, so that whoever tries many names hides nobody else. */
const MAX_OF_SOURCE = 10;

interface Counted {
  readonly first: AuditRefusal;
  last: AuditRefusal;
  /** Without the first, which has an entry of its own. */
  more: number;
  readonly of: "one" | "source" | "all";
  readonly firstAt: number;
  lastAt: number;
}

export class RefusalCounts {
  readonly #counted = new Map<string, Counted>();
  /** Names in `#counted` by source. */
  readonly #ofSource = new Map<string, number>();

  get size(): number {
    return this.#counted.size;
  }

  /** Notes one; what is to be written at once, null when it is only counted. */
  note(refusal: AuditRefusal, at: number): AuditFacts | null {
    const { key, source, of } = this.#placeOf(refusal);
    const known = this.#counted.get(key);
    if (known === undefined) {
      const counted = { first: refusal, last: refusal, more: 0, of, firstAt: at, lastAt: at };
      this.#counted.set(key, counted);
      this.#ofSource.set(source, (this.#ofSource.get(source) ?? 0) + 1);
      return facts(refusal, { count: 1, from: at, to: at });
    }
    known.more++;
    known.last = refusal;
    known.lastAt = at;
    return null;
  }

  /** What was only counted, and forgets all. */
  take(): { readonly facts: AuditFacts; readonly code: string }[] {
    const taken = [...this.#counted.values()].filter(({ more }) => more > 0)
      .map(({ last, more, of, firstAt, lastAt }) => {
        const summed = { ...last, ...SUMMED[of] };
        return {
          facts: facts(summed, { count: more, from: firstAt, to: lastAt }),
          code: last.code,
        };
      });
    this.#counted.clear();
    this.#ofSource.clear();
    return taken;
  }

  #placeOf({ action, actor, remoteAddress, resource, operation }: AuditRefusal) {
    const source = `${action} ${networkOf(remoteAddress)} ${actor}`;
    // No part has spaces.
    const name = resource ? ` ${resource.type} ${resource.name} ${operation ?? ""}` : "";
    const one = { key: `one ${source}${name}`, source, of: "one" as const };
    if (this.#counted.has(one.key)) return one;
    const ofSource = { key: `source ${source}`, source, of: "source" as const };
    if (this.#counted.has(ofSource.key)) return ofSource;
    if (this.#counted.size >= MAX_COUNTED) {
      return { key: `all ${action}`, source: action, of: "all" as const };
    }
    if ((this.#ofSource.get(source) ?? 0) < MAX_OF_SOURCE) return one;
    return ofSource;
  }
}

const SEVERAL_RESOURCES: { resource: AuditResource | null; operation: string | null } = {
  resource: null,
  operation: null,
};
/** What is not told of those that were counted together. */
const SUMMED = {
  one: {},
  source: SEVERAL_RESOURCES,
  all: { ...SEVERAL_RESOURCES, actor: "several", tenant: null, remoteAddress: "several" },
};

function facts(
  refusal: AuditRefusal,
  counted: { count: number; from: number; to: number },
): AuditFacts {
  const { action, actor, tenant, remoteAddress, route, reason, requestId } = refusal;
  const { resource = null, operation = null } = refusal;
  const after = { route, ...operation === null ? {} : { operation }, ...counted };
  return {
    actor,
    tenant,
    remoteAddress,
    action,
    resource,
    before: null,
    after,
    reason,
    requestId,
  };
}

/** Whoever has an IPv6 address has 2^64 of them: they count as one. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped !== null) return mapped[1]!;
  if (!address.includes(":")) return address;
  const [left = "", right = ""] = address.split("::");
  const head = left === "" ? [] : left.split(":");
  const tail = right === "" ? [] : right.split(":");
  const gap = Array.from({ length: Math.max(0, 8 - head.length - tail.length) }, () => "0");
  return `${[...head, ...gap, ...tail].slice(0, 4).join(":")}::/64`;
}
