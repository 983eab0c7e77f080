// Owns who watches the overview live: server-sent events, one a sample, to a bounded number of watchers.
// Refuses to own what an overview tells (overview.ts) and who may see it (the access table).
// Invariant: a watcher that does not read misses samples; nothing is kept for it beyond one event.
import type { Sample, Samples } from "../../actors/measurement/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { nowOf, type Overview } from "./overview.ts";

/** Browsers that watch at once. */
const MAX_WATCHERS = 100;
/** Events that wait for a watcher to read. */
const MAX_WAITING_EVENTS = 1;

interface Watcher {
  /** Throws when it may not watch any more. */
  readonly mayStill: () => void;
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
  watch(first: Overview, mayStill: () => void): ReadableStream<Uint8Array<ArrayBuffer>> {
    if (this.#closed) throw new BrokerError("SHUTTING_DOWN", "the broker is shutting down");
    if (this.#watchers.size >= MAX_WATCHERS) {
      throw new BrokerError("OVERLOADED", `${MAX_WATCHERS} watch the overview already`);
    }
    let watcher: Watcher | null = null;
    return new ReadableStream({
      start: (controller) => {
        watcher = { mayStill, controller };
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

  #tellAll(sample: Sample): void {
    const event = eventOf("sample", nowOf(sample));
    for (const watcher of [...this.#watchers]) {
      try {
        watcher.mayStill();
      } catch (error) {
        if (!(error instanceof BrokerError)) throw error;
        this.#end(watcher);
        continue;
      }
      if ((watcher.controller.desiredSize ?? 0) > 0) watcher.controller.enqueue(event);
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

/** https://html.spec.whatwg.org/multipage/server-sent-events.html: JSON has no line breaks of its own. */
function eventOf(name: "overview" | "sample", data: unknown): Uint8Array<ArrayBuffer> {
  return encoder.encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
}
