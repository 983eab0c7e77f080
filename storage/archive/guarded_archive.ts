// Owns how a store that fails or hangs is kept from holding up those who ask: time limits, few calls at once, a pause
// after failures.
// Refuses to own the store and what the objects hold.
// Invariant: every call settles within its time limit and those of the calls before it in line, with ARCHIVE_UNAVAILABLE
// for whatever went wrong; while calls of one kind fail, all but one in a while are refused at once.
import type { ArchivedObject, ArchiveStore } from "../archive.ts";
import { BrokerError } from "../broker_error.ts";
import type { Clock, Timers } from "../ports.ts";
import { Slots } from "../turns.ts";

/** Calls under way at once. */
const MAX_PARALLEL_CALLS = 8;
/** Calls that wait for those; more are refused. */
const MAX_WAITING_CALLS = 1_000;
/** One call takes at most this long: an object of 16 MiB at half a MB/s. */
const CALL_TIMEOUT_MS = 30_000;
/** Pause after a failure: doubles from the first to the last. */
const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 30_000;

export interface GuardPorts {
  readonly clock: Clock;
  readonly timers: Timers;
}

/** Failures of one kind of call: a store that refuses to remove, say, can still be read. */
interface Pause {
  lengthMs: number;
  until: number;
  cause: unknown;
}

type CallKind = "put" | "get" | "remove" | "list";

export class GuardedArchive implements ArchiveStore {
  readonly #slots = new Slots(MAX_PARALLEL_CALLS);
  readonly #pauses = new Map<CallKind, Pause>();
  #calls = 0;

  constructor(private readonly store: ArchiveStore, private readonly ports: GuardPorts) {}

  put(key: string, bytes: Uint8Array): Promise<void> {
    return this.#call("put", key, () => this.store.put(key, bytes));
  }

  get(key: string): Promise<Uint8Array | null> {
    return this.#call("get", key, () => this.store.get(key));
  }

  remove(key: string): Promise<void> {
    return this.#call("remove", key, () => this.store.remove(key));
  }

  list(prefix: string): Promise<readonly ArchivedObject[]> {
    return this.#call("list", prefix, () => this.store.list(prefix));
  }

  async #call<T>(kind: CallKind, key: string, run: () => Promise<T>): Promise<T> {
    if (this.#calls >= MAX_PARALLEL_CALLS + MAX_WAITING_CALLS) {
      throw unavailable(kind, key, new Error("too many calls wait for it"));
    }
    this.#calls++;
    try {
      return await this.#slots.run(() => this.#guarded(kind, key, run));
    } finally {
      this.#calls--;
    }
  }

  async #guarded<T>(kind: CallKind, key: string, run: () => Promise<T>): Promise<T> {
    const { clock } = this.ports;
    const pause = this.#pauses.get(kind);
    if (pause !== undefined && clock.monotonic() < pause.until) {
      throw unavailable(kind, key, pause.cause);
    }
    try {
      const result = await this.#timed(run());
      this.#pauses.delete(kind);
      return result;
    } catch (cause) {
      const lengthMs = Math.min(
        LAST_PAUSE_MS,
        Math.max(FIRST_PAUSE_MS, (pause?.lengthMs ?? 0) * 2),
      );
      this.#pauses.set(kind, { lengthMs, until: clock.monotonic() + lengthMs, cause });
      throw unavailable(kind, key, cause);
    }
  }

  async #timed<T>(call: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>();
    const cancel = this.ports.timers.after(
      CALL_TIMEOUT_MS,
      () => late.reject(new Error(`no answer within ${CALL_TIMEOUT_MS} ms`)),
    );
    try {
      return await Promise.race([call, late.promise]);
    } finally {
      cancel();
    }
  }
}

function unavailable(kind: CallKind, key: string, cause: unknown): BrokerError {
  const why = cause instanceof Error ? cause.message : String(cause);
  const message = `the archive could not ${kind} ${key}: ${why}`;
  return new BrokerError("ARCHIVE_UNAVAILABLE", message, {}, { cause });
}
