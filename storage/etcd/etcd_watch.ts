// Owns the one watch stream of a store over all keys of its cluster: where it goes on after it broke, moved to another
// endpoint, or fell behind etcd's compaction.
// Refuses to own who is told what (watched_keys.ts).
// Invariant: a stream begins right after the last revision that is wholly known; where etcd no longer has what came
// since, all keys are listed and compared instead. No stream is trusted longer than `STREAM_MS`: a dead connection, which
// looks like a quiet one, delays news by so much and loses none.
import type { Cancel, Clock, Randomness, Timers } from "../ports.ts";
import type { MetadataKey } from "../metadata.ts";
import { EtcdRefusal } from "./etcd_errors.ts";
import type { EtcdKeys } from "./etcd_keys.ts";
import type { EtcdReport, EtcdRequests } from "./etcd_requests.ts";
import { revisionOf, type Streamed, type WatchAnswer } from "./etcd_wire.ts";
import { type KnownKey, WatchedKeys } from "./watched_keys.ts";

export const STREAM_MS = 15_000;
/** Longest line of a stream: etcd cuts its messages at 2 MiB, which base64 makes a third longer. */
const MAX_LINE_BYTES = 16 * 1_048_576;
/** Pause after a failure: doubled with each one in a row, up to the second, of which half is chance. */
const MIN_PAUSE_MS = 50;
const MAX_PAUSE_MS = 2_000;

const ACTION = { action: "watch metadata", path: "/v3/watch", isRepeatable: true };

export interface EtcdWatchOptions {
  readonly keys: EtcdKeys;
  readonly requests: EtcdRequests;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly randomness: Randomness;
  /** All keys of the cluster at one revision. */
  listKeys(): Promise<{ entries: KnownKey[]; revision: number }>;
  report(report: EtcdReport): void;
}

/** What one life of the stream needs, from the first watcher to the last. */
interface Run {
  readonly watched: WatchedKeys;
  isStopped: boolean;
  filling: Promise<void> | null;
  /** A first fill has failed: changes may have been missed, so all there is gets told. */
  hasFailed: boolean;
  stream: { stop: AbortController; endpoint: string | null } | null;
  wake: () => void;
}

export class EtcdWatch {
  #run: Run | null = null;
  #loops: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: EtcdWatchOptions) {
    options.requests.onEndpointFailed = (endpoint) => {
      // What else hangs there is not worth waiting for.
      const stream = this.#run?.stream;
      if (stream?.endpoint === endpoint) stream.stop.abort();
    };
  }

  /**
   * Resolves when every watcher so far knows where it starts: what is read later is no older than that. Rejects when
   * etcd does not answer; the next call tries again.
   */
  async ready(): Promise<void> {
    if (this.#run !== null && this.#run.watched.revision === 0) await this.#fill(this.#run);
  }

  add(prefix: MetadataKey, onChange: (keys: MetadataKey[]) => void): () => void {
    const run = this.#run ??= this.#start();
    const remove = run.watched.add(prefix, onChange);
    return () => {
      remove();
      if (run.watched.size === 0) this.#stop(run);
    };
  }

  /** As WatchedKeys.committed. */
  committed(keys: readonly MetadataKey[], revision: number | null): void {
    this.#run?.watched.committed(keys, revision);
  }

  async close(): Promise<void> {
    if (this.#run !== null) this.#stop(this.#run);
    await this.#loops;
  }

  #start(): Run {
    const run: Run = {
      watched: new WatchedKeys(),
      isStopped: false,
      filling: null,
      hasFailed: false,
      stream: null,
      wake: () => {},
    };
    // The first watcher is added before this begins.
    this.#loops = Promise.allSettled([this.#loops, Promise.resolve().then(() => this.#loop(run))]);
    return run;
  }

  #stop(run: Run): void {
    run.isStopped = true;
    run.watched.clear();
    run.stream?.stop.abort();
    run.wake();
    if (this.#run === run) this.#run = null;
  }

  async #loop(run: Run): Promise<void> {
    for (let failures = 0; !run.isStopped;) {
      try {
        if (run.watched.revision === 0) await this.#fill(run);
        if (run.isStopped) return;
        const isCompacted = await this.#follow(run);
        if (isCompacted && !run.isStopped) await this.#refresh(run);
        failures = 0;
      } catch (error) {
        if (run.isStopped) return;
        failures++;
        const message = `watching metadata failed ${failures} times in a row, trying again`;
        this.options.report({ level: "warning", message, error });
        await this.#pause(run, failures);
      }
    }
  }

  async #fill(run: Run): Promise<void> {
    run.filling ??= this.#refresh(run).finally(() => run.filling = null);
    await run.filling;
  }

  async #refresh(run: Run): Promise<void> {
    try {
      const { entries, revision } = await this.options.listKeys();
      if (!run.isStopped) run.watched.refreshed(entries, revision, run.hasFailed);
    } catch (error) {
      run.hasFailed = true;
      throw error;
    }
  }

  /** Follows one stream to its end, which is no failure after `STREAM_MS`. True: it must be listed anew. */
  async #follow(run: Run): Promise<boolean> {
    const { keys, requests, timers } = this.options;
    const stop = new AbortController();
    const stream: NonNullable<Run["stream"]> = run.stream = { stop, endpoint: null };
    let isOver = false;
    const cancel = timers.after(STREAM_MS, () => {
      isOver = true;
      stop.abort();
    });
    try {
      const start_revision = String(run.watched.revision + 1);
      const create_request = { ...keys.below([]), start_revision, fragment: true };
      const { endpoint, lines } = await requests.stream(ACTION, { create_request }, stop.signal);
      stream.endpoint = endpoint;
      for await (const line of linesOf(lines, stop.signal)) {
        const isCompacted = this.#take(run, JSON.parse(line));
        if (isCompacted) return true;
        if (run.isStopped) return false;
      }
      if (isOver || run.isStopped) return false;
      throw new Error(`${endpoint} ended the watch`);
    } catch (error) {
      if (isOver || run.isStopped) return false;
      if (stream.endpoint !== null) requests.failed(stream.endpoint, error);
      throw error;
    } finally {
      cancel();
      run.stream = null;
      stop.abort();
    }
  }

  /** Takes in one message; true when what came since is no longer to be had. */
  #take(run: Run, message: Streamed<WatchAnswer>): boolean {
    const { result, error } = message;
    if (result === undefined) {
      throw new EtcdRefusal(error?.message ?? JSON.stringify(message), error?.grpc_code ?? 2);
    }
    if (result.canceled === true) {
      if (revisionOf(result.compact_revision) > 0) return true;
      throw new EtcdRefusal(result.cancel_reason ?? "the watch was canceled", 2);
    }
    const changes = (result.events ?? []).map(({ type, kv }) => ({
      key: this.options.keys.parse(kv.key),
      revision: revisionOf(kv.mod_revision),
      isDeleted: type === "DELETE",
    }));
    run.watched.noted(changes);
    const last = changes.at(-1);
    // Of a revision that is not whole yet, all comes again after a failure.
    if (last !== undefined) run.watched.reached(last.revision - (result.fragment === true ? 1 : 0));
    return false;
  }

  async #pause(run: Run, failures: number): Promise<void> {
    const { timers, randomness } = this.options;
    const wholeMs = Math.min(MAX_PAUSE_MS, MIN_PAUSE_MS * 2 ** Math.min(failures - 1, 16));
    const pauseMs = wholeMs * (0.5 + randomness.fraction() / 2);
    let cancel: Cancel = () => {};
    await new Promise<void>((resolve) => {
      run.wake = resolve;
      cancel = timers.after(pauseMs, resolve);
    });
    cancel();
  }
}

/** The lines of a stream of UTF-8, none longer than `MAX_LINE_BYTES`; they end when `signal` aborts. */
async function* linesOf(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  const cancel = () => void reader.cancel().catch(() => {});
  if (signal.aborted) cancel();
  signal.addEventListener("abort", cancel, { once: true });
  const parts: string[] = [];
  let sizeBytes = 0;
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const bytes = read.value;
    let from = 0;
    for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, from)) {
      parts.push(decoder.decode(bytes.subarray(from, at), { stream: true }));
      yield parts.join("");
      parts.length = 0;
      sizeBytes = 0;
      from = at + 1;
    }
    sizeBytes += bytes.length - from;
    if (sizeBytes > MAX_LINE_BYTES) throw new Error("a message of etcd's watch is too long");
    parts.push(decoder.decode(bytes.subarray(from), { stream: true }));
  }
}
