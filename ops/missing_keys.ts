// Owns telling the operator once which encryption keys are missing, where every attempt to open a log would tell it again.
// Refuses to own the attempts, and the keys (encryption_keys.ts).
// Invariant: of one key a line is written for what is new, and no more than each ten minutes for what is known.
import type { RuntimeEvent } from "../actors/runtime/reports.ts";
import { BrokerError } from "../storage/broker_error.ts";
import type { Cancel, Clock, Timers } from "../storage/ports.ts";

/** Time in which logs are gathered for one line. */
const GATHER_MS = 1_000;
const TOLD_AGAIN_MS = 600_000;
/** Topics that a line names. */
const MAX_NAMED = 20;
/** Keys and logs that are remembered; beyond them everything counts as known. */
const MAX_KEYS = 100;
const MAX_LOGS = 100_000;
const MAX_ACTORS = 100_000;
/** Causes of causes that are looked at. */
const MAX_DEPTH = 8;
const UNTOUCHED = "nothing was changed or removed";

export interface MissingKeysOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /** Name of the topic of a log; null where it is not known. */
  readonly topicOf: (log: string) => string | null;
  readonly report: (message: string) => void;
}

interface Missing {
  readonly logs: Set<string>;
  /** Of them: those that were noted since the last line. */
  readonly untold: Set<string>;
  /** Topics that lines have named. */
  readonly named: Set<string>;
  /** Monotonic; null: never. */
  toldAtMs: number | null;
}

export class MissingKeys {
  /** By the key's id, empty where no key at all is configured. */
  readonly #missing = new Map<string, Missing>();
  #cancel: Cancel | null = null;
  /** Whose last failure came of a missing key. */
  readonly #actors = new Set<string>();

  constructor(private readonly options: MissingKeysOptions) {}

  /** True when `error` comes of a missing key: then it is told here, and needs no line of its own. */
  takes(error: unknown): boolean {
    const found = keyErrorIn(error);
    if (found === null) return false;
    const { log, masterKeyIds } = found.details as { log: string; masterKeyIds: readonly string[] };
    for (const id of masterKeyIds.length === 0 ? [""] : masterKeyIds) this.#note(id, log);
    return true;
  }

  /** The same of what befell an actor, and that it is started again after it. */
  takesEvent(event: RuntimeEvent): boolean {
    if (event.type === "actor.restarting") return this.#actors.has(event.actorId);
    if (!("error" in event)) return false;
    const isTaken = this.takes(event.error);
    if (isTaken && this.#actors.size < MAX_ACTORS) this.#actors.add(event.actorId);
    else if (!isTaken) this.#actors.delete(event.actorId);
    return isTaken;
  }

  stop(): void {
    this.#cancel?.();
  }

  #note(id: string, log: string): void {
    let missing = this.#missing.get(id);
    if (missing === undefined) {
      if (this.#missing.size >= MAX_KEYS) return;
      missing = { logs: new Set(), untold: new Set(), named: new Set(), toldAtMs: null };
      this.#missing.set(id, missing);
    }
    const { logs, untold } = missing;
    const isNew = !logs.has(log) && logs.size < MAX_LOGS;
    if (!isNew && !this.#isDue(missing)) return;
    logs.add(log);
    untold.add(log);
    this.#cancel ??= this.options.timers.after(GATHER_MS, () => this.#tell());
  }

  #isDue({ toldAtMs }: Missing): boolean {
    return toldAtMs !== null && this.options.clock.monotonic() - toldAtMs >= TOLD_AGAIN_MS;
  }

  #tell(): void {
    this.#cancel = null;
    for (const [id, missing] of this.#missing) {
      if (missing.untold.size === 0) continue;
      if (this.#isDue(missing)) missing.named.clear();
      const { topicOf, report, clock } = this.options;
      const names = new Set(Array.from(missing.untold, (log) => topicOf(log) ?? `log ${log}`));
      missing.untold.clear();
      const fresh = [...names.difference(missing.named)].sort();
      if (fresh.length === 0) continue;
      for (const name of fresh) missing.named.add(name);
      missing.toldAtMs = clock.monotonic();
      const more = fresh.length > MAX_NAMED ? ` and ${fresh.length - MAX_NAMED} more` : "";
      const key = id === "" ? "an encryption key is needed" : `encryption key ${id} is missing`;
      const which = `${fresh.slice(0, MAX_NAMED).join(", ")}${more}`;
      report(`${key}: ${which} cannot be read or written. ${remedyOf(id)}`);
    }
  }
}

function remedyOf(id: string): string {
  return id === ""
    ? `Start with encryptionKeyFile or encryptionKey; ${UNTOUCHED}`
    : "Put it back into encryptionKeyFile, which is read again by itself, or start again with " +
      `the right encryptionKey; ${UNTOUCHED}`;
}

function keyErrorIn(error: unknown, depth = 0): BrokerError | null {
  if (!(error instanceof Error) || depth > MAX_DEPTH) return null;
  if (error instanceof BrokerError && error.code === "ENCRYPTION_KEY_UNAVAILABLE") {
    return typeof error.details.log === "string" ? error : null;
  }
  const inner = error instanceof AggregateError ? error.errors : [error.cause];
  for (const cause of inner) {
    const found = keyErrorIn(cause, depth + 1);
    if (found !== null) return found;
  }
  return null;
}
