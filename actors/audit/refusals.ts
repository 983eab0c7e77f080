// Owns counting what was refused, so that an attacker fills no disk: one entry at once, the rest of a minute in a second one.
// Refuses to own writing entries (audit_log.ts) and what is refused.
// Invariant: at most `MAX_COUNTED` sources a minute are told apart; all others of that minute are one.
import type { AuditFacts, AuditRefusal } from "./types.ts";

export const REFUSAL_WINDOW_MS = 60_000;
/** Sources that are told apart within a minute: 200 entries a minute at most, whoever asks how often. */
const MAX_COUNTED = 100;
const OTHERS = "others";

interface Counted {
  readonly first: AuditRefusal;
  last: AuditRefusal;
  /** Without the first, which has an entry of its own. */
  more: number;
  readonly firstAt: number;
  lastAt: number;
}

export class RefusalCounts {
  readonly #counted = new Map<string, Counted>();

  get size(): number {
    return this.#counted.size;
  }

  /** Notes one; what is to be written at once, null when it is only counted. */
  note(refusal: AuditRefusal, at: number): AuditFacts | null {
    const { action, actor, remoteAddress } = refusal;
    const network = networkOf(remoteAddress);
    const name = `${action} ${network} ${actor}`;
    const isKnown = this.#counted.has(name) || this.#counted.size < MAX_COUNTED;
    const key = isKnown ? name : `${action} ${OTHERS}`;
    const known = this.#counted.get(key);
    if (known === undefined) {
      this.#counted.set(key, { first: refusal, last: refusal, more: 0, firstAt: at, lastAt: at });
      return facts(refusal, { count: 1, from: at, to: at });
    }
    known.more++;
    known.last = refusal;
    known.lastAt = at;
    return null;
  }

  /** What was only counted, and forgets all. */
  take(): { readonly facts: AuditFacts; readonly code: string }[] {
    const taken = [...this.#counted.entries()].filter(([, { more }]) => more > 0)
      .map(([key, { last, more, firstAt, lastAt }]) => {
        const many = key.endsWith(` ${OTHERS}`) ? { ...last, ...SEVERAL } : last;
        return { facts: facts(many, { count: more, from: firstAt, to: lastAt }), code: last.code };
      });
    this.#counted.clear();
    return taken;
  }
}

const SEVERAL = { actor: "several", tenant: null, remoteAddress: "several" };

function facts(
  { action, actor, tenant, remoteAddress, route, reason, requestId }: AuditRefusal,
  counted: { count: number; from: number; to: number },
): AuditFacts {
  const after = { route, ...counted };
  const resource = null;
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
