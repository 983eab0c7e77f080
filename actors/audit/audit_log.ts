// Owns the audit log of this broker as its edges use it: intents, outcomes, refusals, queries, verification.
// Refuses to own writing the chain (chain_writer.ts), finding entries (query.ts), and what is audited (the edges).
// Invariant: an intent has one outcome at most, and one in the end.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Timers } from "../../storage/ports.ts";
import { ChainWriter, type ChainWriterPorts } from "./chain_writer.ts";
import { outcomeOf, OWN_FACTS } from "./drafts.ts";
import { queryAudit } from "./query.ts";
import { REFUSAL_WINDOW_MS, RefusalCounts } from "./refusals.ts";
import { dropOldEntries } from "./retention.ts";
import type {
  AuditEntry,
  AuditFacts,
  AuditHead,
  AuditLog,
  AuditPage,
  AuditQuery,
  AuditRefusal,
  AuditResult,
  AuditVerification,
} from "./types.ts";
import { verifyAudit } from "./verify.ts";

export { AUDIT_TOPIC } from "./drafts.ts";

/** Intents without outcome. */
const MAX_OPEN = 10_000;
/** Verifying starts over when old entries are let go under it. */
const MAX_VERIFY_RETRIES = 3;

export interface AuditLogPorts extends ChainWriterPorts {
  readonly timers: Timers;
}

export class LocalAuditLog implements AuditLog {
  readonly #chain: ChainWriter;
  readonly #refusals = new RefusalCounts();
  #cancelRefusals: Cancel | null = null;
  #verifying: Promise<unknown> = Promise.resolve();

  private constructor(private readonly ports: AuditLogPorts) {
    this.#chain = new ChainWriter(ports);
  }

  /** Takes the chain up where it ended. Where the log cannot be used now, it does so with the first entry. */
  static async open(ports: AuditLogPorts): Promise<LocalAuditLog> {
    const log = new LocalAuditLog(ports);
    try {
      await log.#chain.start();
    } catch (error) {
      // Another broker leads it: what is audited goes there.
      if (isLedElsewhere(error)) return log;
      const message = "the audit log cannot be written: what is audited will be refused";
      ports.report({ level: "error", message, error });
    }
    return log;
  }

  async intend(facts: AuditFacts): Promise<number> {
    if (this.#chain.open.size >= MAX_OPEN) {
      throw new BrokerError("OVERLOADED", `${MAX_OPEN} audited requests are under way`);
    }
    const draft = { facts, outcome: "intended" as const, code: null, intent: null };
    return (await this.#chain.write(draft)).sequence;
  }

  async conclude(intent: number, result: AuditResult): Promise<AuditHead> {
    // It may have been written while another broker led the log.
    if (!this.#chain.open.has(intent)) await this.#chain.catchUp();
    const open = this.#chain.open.get(intent);
    if (open === undefined) {
      const message = `there is no intent ${intent} without an outcome`;
      throw new BrokerError("AUDIT_UNAVAILABLE", message);
    }
    const outcome = outcomeOf(open.entry, result);
    try {
      return headOf(await this.#chain.write(outcome));
    } catch (error) {
      this.#chain.writeLater({ ...outcome, intent });
      throw error;
    }
  }

  async record(
    facts: AuditFacts,
    result: { outcome: "success" | "failure"; code?: string } = { outcome: "success" },
  ): Promise<AuditHead> {
    const { outcome, code = null } = result;
    return headOf(await this.#chain.write({ facts, outcome, code, intent: null }));
  }

  refused(refusal: AuditRefusal): void {
    const { clock, timers } = this.ports;
    const facts = this.#refusals.note(refusal, clock.now());
    if (facts !== null) this.#recordRefused(facts, refusal.code);
    this.#cancelRefusals ??= timers.after(REFUSAL_WINDOW_MS, () => this.#writeRefusals());
  }

  head(): AuditHead | Promise<AuditHead> {
    if (this.ports.orphanMs === undefined) return headOf(this.#chain.head);
    // Another broker may have written since this one has.
    return this.#chain.catchUp().then(() => headOf(this.#chain.head));
  }

  // deno-lint-ignore require-await -- a log that is not open must reject, as it would from afar
  async query(query: AuditQuery): Promise<AuditPage> {
    const { isStale, open } = this.#chain;
    // Where it is not known which have ended, all are shown.
    const isLeftOut = query.withoutEnded !== true || isStale
      ? undefined
      : ({ outcome, sequence }: AuditEntry) => outcome === "intended" && !open.has(sequence);
    return queryAudit(this.ports.partition(), { ...query, isLeftOut }, this.ports.crc32c);
  }

  /** One at a time: each reads the whole log. */
  verify(expected?: AuditHead, from = 0): Promise<AuditVerification> {
    const verified = this.#verifying.then(() => this.#verify(from, expected));
    this.#verifying = verified.catch(() => undefined);
    return verified;
  }

  /** Lets go of whole segments of entries older than `windowMs`, after noting where the chain then begins. */
  async applyRetention(now: number, windowMs: number): Promise<void> {
    if (this.#chain.isStale || this.ports.partition().leads === false) return;
    await dropOldEntries(this.ports.partition(), {
      now,
      windowMs,
      kept: this.#chain.kept,
      crc32c: this.ports.crc32c,
      record: (after, action) => this.record({ ...OWN_FACTS, action, after }),
    });
  }

  /** Writes what was counted, refuses new entries (SHUTTING_DOWN), resolves when those before are written. */
  async close(): Promise<void> {
    this.#cancelRefusals?.();
    this.#writeRefusals();
    await this.#chain.close();
  }

  async #verify(from: number, expected?: AuditHead): Promise<AuditVerification> {
    const { crc32c } = this.ports;
    const partition = this.ports.partition();
    if (partition.leads === false) throw partition.refusal!();
    const chain = this.#chain;
    for (let tries = 0;; tries++) {
      try {
        const kept = await chain.kept.peekHead();
        const head = chain.isStale || kept.sequence > chain.head.sequence ? kept : chain.head;
        const anchor = await chain.kept.loadAnchor();
        const pinned = [kept, ...expected === undefined ? [] : [expected]];
        return await verifyAudit(this.ports.partition(), { anchor, head, pinned, from, crc32c });
      } catch (error) {
        const isDropped = error instanceof BrokerError && error.code === "OFFSET_OUT_OF_RANGE";
        if (!isDropped || tries >= MAX_VERIFY_RETRIES) throw error;
      }
    }
  }

  #writeRefusals(): void {
    this.#cancelRefusals = null;
    for (const { facts, code } of this.#refusals.take()) this.#recordRefused(facts, code);
  }

  #recordRefused(facts: AuditFacts, code: string): void {
    this.record(facts, { outcome: "failure", code }).catch((error) => {
      const message = `${facts.action} could not be audited`;
      this.ports.report({ level: "warning", message, error });
    });
  }
}

function headOf({ sequence, hash }: AuditHead): AuditHead {
  return { sequence, hash };
}

function isLedElsewhere(error: unknown): boolean {
  const { code } = asBrokerError(error);
  return code === "NOT_LEADER" || code === "LEADER_NOT_AVAILABLE";
}
