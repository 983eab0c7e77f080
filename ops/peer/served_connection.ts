// Owns the calls of one other broker on one connection that it has made: handlers, their answers, what is given up.
// Refuses to own who it is (handshake.ts) and what handlers do.
// Invariant: handlers begin in the order in which calls came; no more begin while answers wait to be written.
import type { PeerCaller, PeerHandler } from "../../actors/cluster/peers.ts";
import { asBrokerError, type BrokerError } from "../../storage/broker_error.ts";
import type { Clock, Timers } from "../../storage/ports.ts";
import { close } from "./dialled_connection.ts";
import { type FrameReader, FrameWriter } from "./frames.ts";
import { Keepalive } from "./keepalive.ts";
import { dataOf, type EncodedMessage, encodeMessage, KIND, prefixOf } from "./message.ts";
import { unavailable } from "./outgoing_call.ts";
import { type PeerBounds, PeerProtocolError, type PeerReport, type PeerSocket } from "./types.ts";

export interface ServedOptions {
  /** This broker. */
  readonly nodeId: string;
  readonly from: string;
  readonly socket: PeerSocket;
  readonly reader: FrameReader;
  readonly clock: Pick<Clock, "monotonic">;
  readonly timers: Timers;
  readonly bounds: PeerBounds;
  readonly handlerOf: (method: string) => PeerHandler | null;
  /** Called once. */
  readonly ended: (why: unknown) => void;
  readonly report: PeerReport;
}

interface Serving {
  readonly frame: Uint8Array;
  readonly bytes: number;
  readonly abort: AbortController;
}

export class ServedConnection {
  readonly #serving = new Map<number, Serving>();
  /** Not begun yet, since answers wait. */
  #waiting: number[] = [];
  readonly #writer: FrameWriter;
  readonly #keepalive: Keepalive;
  #servingBytes = 0;
  #ended = false;

  constructor(private readonly options: ServedOptions) {
    const { socket, clock, timers, bounds } = options;
    this.#writer = new FrameWriter(socket, {
      failed: (error) => this.end(error),
      written: () => this.#beginWaiting(),
    });
    this.#keepalive = new Keepalive({
      clock,
      timers,
      bounds,
      silent: () => this.end(new PeerProtocolError(`nothing was heard for ${bounds.silenceMs} ms`)),
    });
    void this.#read();
  }

  heard(): void {
    this.#keepalive.heard();
  }

  end(why: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#keepalive.end();
    this.#writer.end();
    close(this.options.socket);
    this.#waiting = [];
    const serving = [...this.#serving.values()];
    this.#serving.clear();
    for (const { abort } of serving) abort.abort();
    this.options.ended(why);
  }

  async #read(): Promise<void> {
    const { reader, bounds } = this.options;
    try {
      for (;;) {
        const frame = await reader.next(bounds.maxFrameBytes);
        if (frame === null) throw new PeerProtocolError("the other side has hung up");
        this.#take(frame);
      }
    } catch (error) {
      this.end(error);
    }
  }

  #take(frame: Uint8Array): void {
    const { kind, id } = prefixOf(frame);
    if (kind === KIND.ping) return this.#writer.push(encodeMessage(KIND.pong, id));
    if (kind === KIND.cancel) return this.#serving.get(id)?.abort.abort();
    if (kind !== KIND.request) throw new PeerProtocolError(`a message of kind ${kind}`);
    const { maxCalls, maxCallBytes, maxAnswerBytes } = this.options.bounds;
    // As the other side counts them: the length belongs to it.
    const bytes = frame.length + 4;
    this.#servingBytes += bytes;
    if (
      this.#serving.has(id) || this.#serving.size >= maxCalls || this.#servingBytes > maxCallBytes
    ) {
      throw new PeerProtocolError("more is asked than may be");
    }
    this.#serving.set(id, { frame, bytes, abort: new AbortController() });
    if (this.#waiting.length > 0 || this.#writer.waitingBytes > maxAnswerBytes) {
      this.#waiting.push(id);
    } else void this.#serve(id);
  }

  #beginWaiting(): void {
    while (
      this.#waiting.length > 0 && this.#writer.waitingBytes <= this.options.bounds.maxAnswerBytes
    ) void this.#serve(this.#waiting.shift()!);
  }

  async #serve(id: number): Promise<void> {
    const { frame, bytes, abort } = this.#serving.get(id)!;
    let answer: EncodedMessage;
    try {
      const value = await this.#handle(frame, abort.signal);
      answer = encodeMessage(KIND.answer, id, value);
      if (answer.bytes > this.options.bounds.maxFrameBytes) {
        throw new Error(`an answer of ${answer.bytes} bytes is too large for a peer`);
      }
    } catch (error) {
      answer = this.#failure(id, error);
    }
    if (this.#ended) return;
    this.#serving.delete(id);
    this.#servingBytes -= bytes;
    this.#writer.push(answer);
  }

  #handle(frame: Uint8Array, signal: AbortSignal): Promise<unknown> {
    const { from, nodeId, handlerOf } = this.options;
    const [method, incarnation, args] = dataOf(frame) as [string, number, unknown];
    const handler = handlerOf(method);
    if (handler === null) throw unavailable(nodeId, `it does not serve ${method}`);
    const caller: PeerCaller = { nodeId: from, incarnation };
    return handler(args, caller, signal);
  }

  #failure(id: number, error: unknown): EncodedMessage {
    const failure = asBrokerError(error);
    if (failure.code === "INTERNAL") {
      const message = `a call of ${this.options.from} failed`;
      this.options.report({ level: "error", message, error: failure.cause ?? failure });
    }
    try {
      return encodeMessage(KIND.failure, id, wordsOf(failure, failure.details));
    } catch {
      return encodeMessage(KIND.failure, id, wordsOf(failure, {}));
    }
  }
}

function wordsOf({ code, message }: BrokerError, details: Readonly<Record<string, unknown>>) {
  return [code, message, details];
}
