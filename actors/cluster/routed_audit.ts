// Owns the audit log as every broker's edges use it: entries are written by whoever leads it, refusals counted here first,
// outcomes that do not get there are kept for a while and said again.
// Refuses to own the chain of entries (actors/audit). Invariant: what an attacker does to one broker costs the leader
// no more entries than it would cost that broker alone; an outcome is written once, however often it is said.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import { REFUSAL_WINDOW_MS, RefusalCounts } from "../audit/refusals.ts";
import type { AuditFacts, AuditHead, AuditLog, AuditRefusal, AuditResult } from "../audit/types.ts";

export interface RoutedRefusalsOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly record: AuditLog["record"];
  readonly report: (event: { level: "warning"; message: string; error?: unknown }) => void;
}

/** What of the audit log is not simply its leader's. */
export class RoutedRefusals {
  readonly #counts = new RefusalCounts();
  #counting = false;
  #cancel = () => {};

  constructor(private readonly options: RoutedRefusalsOptions) {}

  /** See AuditLog.refused. */
  refused(refusal: AuditRefusal): void {
    const { clock, timers } = this.options;
    const facts = this.#counts.note(refusal, clock.now());
    if (facts !== null) this.#record(facts, refusal.code);
    if (this.#counting) return;
    this.#counting = true;
    this.#cancel = timers.after(REFUSAL_WINDOW_MS, () => this.#flush());
  }

  /** Writes what was counted. */
  close(): void {
    this.#cancel();
    this.#flush();
  }

  #flush(): void {
    this.#counting = false;
    for (const { facts, code } of this.#counts.take()) this.#record(facts, code);
  }

  #record(facts: AuditFacts, code: string): void {
    this.options.record(facts, { outcome: "failure", code }).catch((error) => {
      this.options.report({ level: "warning", message: "a refusal could not be audited", error });
    });
  }
}

/** Outcomes kept, and for how long: then the log takes them for unknown. */
const MAX_LATE = 10_000;
const LATE_MS = 120_000;
const AGAIN_MS = 2_000;

/** It did not get there, or nobody knows whether it did. */
const NOT_SAID: ReadonlySet<string> = new Set([
  "PEER_LOST",
  "PEER_UNAVAILABLE",
  "LEADER_NOT_AVAILABLE",
  "NOT_LEADER",
]);

export interface RoutedOutcomesOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /** At whoever leads the log. */
  readonly conclude: AuditLog["conclude"];
  readonly report: (event: { level: "warning"; message: string; error?: unknown }) => void;
}

interface LateOutcome {
  readonly result: AuditResult;
  readonly dueMs: number;
}

export class RoutedOutcomes {
  readonly #late = new Map<number, LateOutcome>();
  #cancel: Cancel | null = null;
  #closed = false;

  constructor(private readonly options: RoutedOutcomesOptions) {}

  /** See AuditLog.conclude: after a rejection the outcome is said again. */
  async conclude(intent: number, result: AuditResult): Promise<AuditHead> {
    try {
      return await this.options.conclude(intent, result);
    } catch (error) {
      if (isNotSaid(error) && this.#late.size < MAX_LATE) {
        const dueMs = this.options.clock.monotonic() + LATE_MS;
        this.#late.set(intent, { result, dueMs });
        this.#sayLater();
      }
      throw error;
    }
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  #sayLater(): void {
    if (this.#closed || this.#cancel !== null || this.#late.size === 0) return;
    this.#cancel = this.options.timers.after(AGAIN_MS, () => {
      void this.#say().finally(() => {
        this.#cancel = null;
        this.#sayLater();
      });
    });
  }

  async #say(): Promise<void> {
    for (const [intent, { result, dueMs }] of [...this.#late]) {
      try {
        await this.options.conclude(intent, result);
        this.#late.delete(intent);
      } catch (error) {
        const isOver = this.options.clock.monotonic() >= dueMs;
        // The next ones would not get there either.
        if (isNotSaid(error) && !isOver) return;
        this.#late.delete(intent);
        const message = `the outcome of audited intent ${intent} could not be written`;
        this.options.report({ level: "warning", message, error });
      }
    }
  }
}

function isNotSaid(error: unknown): boolean {
  return error instanceof BrokerError && NOT_SAID.has(error.code);
}
