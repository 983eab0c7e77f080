// Owns looking after the audit log: verifying it now and then, for the threshold `audit-broken`.
// Refuses to own verifying (actors/audit/) and the alert.
// Invariant: one look at a time; what could not be looked at is not called intact.
import type { AuditLog } from "../../actors/audit/types.ts";
import type { AlertSignals } from "../../actors/threshold/types.ts";
import { asBrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Timers } from "../../storage/ports.ts";

/** The first look, when the start is over, and those after a fault was found. */
const FIRST_LOOK_MS = 30_000;
const FAULT_LOOK_MS = 60_000;

export interface AuditWatchOptions {
  readonly audit: AuditLog;
  readonly timers: Timers;
  /** Between two looks, each of which reads the whole log; 0: never. */
  readonly everyMs: number;
}

export class AuditWatch {
  #found: AlertSignals["audit"] = null;
  #cancel: Cancel | null = null;
  #looking: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(private readonly options: AuditWatchOptions) {
    if (options.everyMs > 0) this.#arm(Math.min(FIRST_LOOK_MS, options.everyMs));
  }

  /** What the last look found; null before the first. */
  get found(): AlertSignals["audit"] {
    return this.#found;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#looking;
  }

  #arm(delayMs: number): void {
    if (this.#stopped) return;
    this.#cancel = this.options.timers.after(delayMs, () => {
      this.#looking = this.#look();
    });
  }

  async #look(): Promise<void> {
    const { audit, everyMs } = this.options;
    try {
      const { intact, firstFault } = await audit.verify();
      const fault = intact
        ? null
        : firstFault === undefined
        ? "it is not intact"
        : `entry ${firstFault.sequence}: ${firstFault.reason}`;
      this.#found = { fault };
    } catch (error) {
      const { code, message } = asBrokerError(error);
      if (code !== "SHUTTING_DOWN") {
        this.#found = { fault: `it cannot be verified: ${code}: ${message}` };
      }
    }
    const isFault = this.#found !== null && this.#found.fault !== null;
    this.#arm(isFault ? Math.min(FAULT_LOOK_MS, everyMs) : everyMs);
  }
}
