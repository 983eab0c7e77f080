// Owns handing large writes to a thread of their own. Deno's `fs.write` copies into the page cache on the calling thread,
// asynchronous or not: 0.4 ms a MB into memory the kernel has at hand, up to 9 ms where it must find fresh pages.
// Refuses to own syncing, small writes and files. Invariant: every write settles once; a thread that died fails all.
import type { WriteAnswer, WriteRequest } from "./write_messages.ts";

/** Buffers kept for bytes that do not lie in shared memory yet, and the largest of them. */
const MAX_KEPT_BUFFERS = 4;
const MAX_KEPT_BYTES = 8 * 1024 * 1024;
const MIN_BUFFER_BYTES = 64 * 1024;

/** A file as its opener knows it. */
export interface WrittenFile {
  /** Unique among the open files of this process. */
  readonly handle: number;
  /** Absolute. */
  readonly path: string;
  readonly device: number;
  readonly inode: number;
}

interface Waiting {
  resolve(written: number): void;
  reject(error: Error): void;
}

export class WriteThread {
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | null = null;
  #nextId = 0;
  #kept: SharedArrayBuffer[] = [];

  /** Writes `bytes`; resolves to the count written, which may be short. Rejects as `fs.write` does, with `code`. */
  async write(file: WrittenFile, bytes: Uint8Array, position: number): Promise<number> {
    const { buffer } = bytes;
    if (buffer instanceof SharedArrayBuffer) {
      return await this.#send(file, { memory: buffer, offset: bytes.byteOffset }, {
        length: bytes.length,
        position,
      });
    }
    const memory = this.#take(bytes.length);
    new Uint8Array(memory, 0, bytes.length).set(bytes);
    try {
      return await this.#send(file, { memory, offset: 0 }, { length: bytes.length, position });
    } finally {
      this.#give(memory);
    }
  }

  /** The file is closed: the thread lets go of it too. */
  forget(handle: number): void {
    this.#worker?.postMessage({ type: "close", handle } satisfies WriteRequest);
  }

  /** Ends the thread; call it when every file is closed. */
  end(): void {
    this.#worker?.terminate();
    this.#worker = null;
  }

  #send(
    file: WrittenFile,
    from: { memory: SharedArrayBuffer; offset: number },
    what: { length: number; position: number },
  ): Promise<number> {
    const id = this.#nextId++;
    const request: WriteRequest = { type: "write", id, ...file, ...from, ...what };
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#thread().postMessage(request);
    });
  }

  /** Started at the first large write: most small brokers never need it. */
  #thread(): Worker {
    if (this.#worker !== null) return this.#worker;
    const url = new URL("./write_thread_worker.ts", import.meta.url);
    const worker = new Worker(url, { type: "module", name: "waybill-writes" });
    worker.onmessage = ({ data }: MessageEvent<WriteAnswer>) => this.#settle(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new Error(`the write thread has died: ${event.message}`));
    };
    this.#worker = worker;
    return worker;
  }

  #settle(answer: WriteAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ("written" in answer) waiting?.resolve(answer.written);
    else waiting?.reject(Object.assign(new Error(answer.message), { code: answer.code }));
  }

  /** Nobody knows what was written: the logs concerned recover from disk, and the next write starts a new thread. */
  #fail(error: Error): void {
    this.#worker = null;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(error);
  }

  #take(length: number): SharedArrayBuffer {
    const index = this.#kept.findIndex((memory) => memory.byteLength >= length);
    if (index >= 0) return this.#kept.splice(index, 1)[0]!;
    let capacity = MIN_BUFFER_BYTES;
    while (capacity < length) capacity *= 2;
    return new SharedArrayBuffer(capacity > MAX_KEPT_BYTES ? length : capacity);
  }

  #give(memory: SharedArrayBuffer): void {
    if (memory.byteLength > MAX_KEPT_BYTES) return;
    this.#kept.push(memory);
    if (this.#kept.length > MAX_KEPT_BUFFERS) this.#kept.shift();
  }
}
