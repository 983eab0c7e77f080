// Owns giving large publish requests to threads: 16 MB of JSON would hold the event loop for half a second.
// Refuses to own what preparing is (api/publish_preparation.ts), and to bound what waits: the budget of all bodies does.
// Invariant: every request settles once; a thread that dies fails those it had, of which nothing is stored yet.
import type { ApiLimits } from "../../api/limits.ts";
import type {
  PreparedPublish,
  PublishPreparer,
  RawPublish,
  TopicToWrite,
} from "../../api/publish_preparation.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { errorAsData, errorOfData, type FromThread, type ToThread } from "./messages.ts";

/**
 * Smaller requests are prepared on the event loop. They hold it for 2 ms at most, and on two cores handing over 100 KB costs
 * as much as it saves: 190,000 to 218,000 messages/s with a thread, 203,000 to 241,000 without (100 of 1 KB a request).
 */
const MIN_HANDED_BYTES = 262_144;
/** After as many deaths there is something wrong with threads here: everything is prepared on the event loop. */
const MAX_DEATHS = 5;

export interface PublishThreadsOptions {
  /** 0: everything is prepared on the event loop. */
  readonly threads: number;
  readonly limits: ApiLimits;
  /** For small requests, and while threads start. */
  readonly here: PublishPreparer;
  /** What the threads run; default `thread.ts`. */
  readonly module?: URL;
  report(message: string): void;
}

/** Threads that prepare publish requests. The first large request starts them. */
export class PublishThreads {
  readonly #options: PublishThreadsOptions;
  readonly #threads: PublishThread[] = [];
  #deaths = 0;
  #ended = false;

  constructor(options: PublishThreadsOptions) {
    this.#options = options;
  }

  readonly prepare: PublishPreparer = (raw, topicToWrite) => {
    const { here, threads } = this.#options;
    const isSmall = raw.bytes.length < MIN_HANDED_BYTES;
    if (threads === 0 || isSmall || this.#ended) return here(raw, topicToWrite);
    const thread = this.#idlest();
    return thread === null ? here(raw, topicToWrite) : thread.prepare(raw, topicToWrite);
  };

  /** Ends the threads; call it when no request is under way. */
  end(): void {
    this.#ended = true;
    for (const thread of this.#threads) thread.end();
  }

  /** The thread with the least to do, null when none is ready; starts those that are missing. */
  #idlest(): PublishThread | null {
    let best: PublishThread | null = null;
    for (let index = 0; index < this.#options.threads; index++) {
      const running = this.#threads[index];
      if (running === undefined) this.#threads[index] = new PublishThread(this.#options);
      else if (running.isDead) this.#replace(index);
      else if (running.underWay < (best?.underWay ?? Infinity)) best = running;
    }
    return best;
  }

  #replace(index: number): void {
    if (this.#deaths >= MAX_DEATHS) return;
    this.#deaths++;
    this.#threads[index] = new PublishThread(this.#options);
  }
}

interface Waiting extends PromiseWithResolvers<PreparedPublish> {
  readonly topicToWrite: TopicToWrite;
}

class PublishThread {
  isDead = false;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 0;
  #ready = false;

  constructor(private readonly options: PublishThreadsOptions) {
    const url = options.module ?? new URL("./thread.ts", import.meta.url);
    this.#worker = new Worker(url, { type: "module", name: "waybill-publish" });
    this.#worker.onmessage = ({ data }: MessageEvent<FromThread>) => this.#hear(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#die(event.message);
    };
    this.#say({ type: "start", limits: options.limits });
  }

  /** Infinity while it starts. */
  get underWay(): number {
    return this.#ready && !this.isDead ? this.#waiting.size : Infinity;
  }

  prepare(raw: RawPublish, topicToWrite: TopicToWrite): Promise<PreparedPublish> {
    const id = this.#nextId++;
    const waiting = Promise.withResolvers<PreparedPublish>();
    this.#waiting.set(id, { ...waiting, topicToWrite });
    const bytes = ownBuffer(raw.bytes);
    const request: ToThread = { type: "prepare", id, raw: { ...raw, bytes } };
    this.#worker.postMessage(request, [bytes.buffer]);
    return waiting.promise;
  }

  end(): void {
    this.isDead = true;
    this.#worker.terminate();
  }

  #hear(message: FromThread): void {
    if (message.type === "ready") this.#ready = true;
    else if (message.type === "ask") void this.#answer(message);
    else {
      const waiting = this.#waiting.get(message.id)!;
      this.#waiting.delete(message.id);
      if (message.type === "prepared") waiting.resolve(message.prepared);
      else waiting.reject(errorOfData(message.error));
    }
  }

  async #answer({ id, name }: Extract<FromThread, { type: "ask" }>): Promise<void> {
    const { topicToWrite } = this.#waiting.get(id)!;
    try {
      this.#say({ type: "topic", id, topic: await topicToWrite(name) });
    } catch (error) {
      this.#say({ type: "forbidden", id, error: errorAsData(error) });
    }
  }

  #die(message: string): void {
    this.isDead = true;
    this.#worker.terminate();
    this.options.report(`a publish thread has died: ${message}`);
    const error = new BrokerError("OVERLOADED", "the thread that prepared this publish has died");
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }

  #say(message: ToThread): void {
    this.#worker.postMessage(message);
  }
}

/** The bytes in a buffer that holds nothing else, which can change hands. */
function ownBuffer(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer;
  return whole ? bytes as Uint8Array<ArrayBuffer> : bytes.slice();
}
