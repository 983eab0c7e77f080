// Owns the audit log as every broker's edges use it: entries are written by whoever leads it, refusals counted here first.
// Refuses to own the chain of entries (actors/audit). Invariant: what an attacker does to one broker costs the leader
// no more entries than it would cost that broker alone.
import type { Clock, Timers } from "../../storage/ports.ts";
import { REFUSAL_WINDOW_MS, RefusalCounts } from "../audit/refusals.ts";
import type { AuditFacts, AuditLog, AuditRefusal } from "../audit/types.ts";

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
