// Owns who watches the overview live: server-sent events, one a sample, to a bounded number of watchers.
// Refuses to own what an overview tells (overview.ts) and who may see it (the access table).
// Invariant: a watcher that does not read misses samples; nothing is kept for it beyond one event.
import type { Sample, Samples } from "../../actors/measurement/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { KeySight } from "../auth/key_sight.ts";
import { nowOf, type Overview, type OverviewNow, seenNow } from "./overview.ts";

/** Browsers that watch at once, those of one principal, and places that are kept for administrators. */
const MAX_WATCHERS = 100;
const MAX_WATCHERS_OF_ONE = 8;
const ADMINISTRATORS_WATCHERS = 20;
/** Events that wait for a watcher to read. */
const MAX_WAITING_EVENTS = 1;

/** Whoever asks to watch. */
export interface Viewer {
  readonly principal: string;
  readonly tenant: string;
  readonly isAdministrator: boolean;
  /** Throws when it may not watch any more. */
  readonly mayStill: () => void;
  readonly mayReadKeys: KeySight;
}

interface Watcher {
  readonly viewer: Viewer;
  readonly controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
}

const encoder = new TextEncoder();

export class OverviewStream {
  readonly #watchers = new Set<Watcher>();
  #stop: (() => void) | null = null;
  #closed = false;

  constructor(private readonly samples: Samples) {}

  get watchers(): number {
    return this.#watchers.size;
  }

  /** Events from `first` on, until whoever watches has gone or may not any more. Throws OVERLOADED, SHUTTING_DOWN. */
  watch(first: Overview, viewer: Viewer): ReadableStream<Uint8Array<ArrayBuffer>> {
    if (this.#closed) throw new BrokerError("SHUTTING_DOWN", "the broker is shutting down");
    this.#refuseTooMany(viewer);
    let watcher: Watcher | null = null;
    return new ReadableStream({
      start: (controller) => {
        watcher = { viewer, controller };
        this.#watchers.add(watcher);
        this.#stop ??= this.samples.onSample((sample) => this.#tellAll(sample));
        controller.enqueue(eventOf("overview", first));
      },
      cancel: () => this.#forget(watcher!),
    }, { highWaterMark: MAX_WAITING_EVENTS });
  }

  /** Ends every watcher's events: a shutdown would wait for them. */
  close(): void {
    this.#closed = true;
    for (const watcher of [...this.#watchers]) this.#end(watcher);
  }

  /** One that may watch alone cannot take the places of all: administrators find theirs whatever others do. */
  #refuseTooMany({ principal, tenant, isAdministrator }: Viewer): void {
    const max = isAdministrator ? MAX_WATCHERS : MAX_WATCHERS - ADMINISTRATORS_WATCHERS;
    if (this.#watchers.size >= max) {
      throw new BrokerError("OVERLOADED", `${this.#watchers.size} watch the overview already`);
    }
    if (isAdministrator) return;
    const own = [...this.#watchers].filter(({ viewer }) =>
      viewer.principal === principal && viewer.tenant === tenant
    );
    if (own.length < MAX_WATCHERS_OF_ONE) return;
    throw new BrokerError(
      "OVERLOADED",
      `${principal} watches the overview ${own.length} times already`,
    );
  }

  #tellAll(sample: Sample): void {
    const told = new SampleEvents(nowOf(sample));
    for (const watcher of [...this.#watchers]) {
      try {
        watcher.viewer.mayStill();
      } catch (error) {
        if (!(error instanceof BrokerError)) throw error;
        this.#end(watcher);
        continue;
      }
      if ((watcher.controller.desiredSize ?? 0) > 0) {
        watcher.controller.enqueue(told.to(watcher.viewer));
      }
    }
  }

  #end(watcher: Watcher): void {
    this.#forget(watcher);
    watcher.controller.close();
  }

  #forget(watcher: Watcher): void {
    this.#watchers.delete(watcher);
    if (this.#watchers.size > 0) return;
    this.#stop?.();
    this.#stop = null;
  }
}

/** A sample, encoded once for all who may be told the same of it. */
class SampleEvents {
  readonly #bySight = new Map<string, Uint8Array<ArrayBuffer>>();

  constructor(private readonly now: OverviewNow) {}

  to({ mayReadKeys }: Viewer): Uint8Array<ArrayBuffer> {
    const sight = this.now.partitions.map(({ topic, hotKey }) =>
      hotKey === undefined || mayReadKeys(topic)
    ).join();
    const event = this.#bySight.get(sight) ?? eventOf("sample", seenNow(this.now, mayReadKeys));
    this.#bySight.set(sight, event);
    return event;
  }
}

/** https://html.spec.whatwg.org/multipage/server-sent-events.html: JSON has no line breaks of its own. */
function eventOf(name: "overview" | "sample", data: unknown): Uint8Array<ArrayBuffer> {
  return encoder.encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
}
