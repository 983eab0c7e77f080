// Owns the calls of one other broker on one connection that it has made: handlers, their answers, what is given up.
// Refuses to own who it is (handshake.ts) and what handlers do.
// Invariant: handlers begin in the order in which calls came; no more begin while answers wait to be written.
import type { PeerCaller, PeerHandler } from "../../actors/cluster/peers.ts";
import { asBrokerError, type BrokerError } from "../../storage/broker_error.ts";
import { type ConnectionOptions, FrameLink } from "./frame_link.ts";
import { dataOf, type EncodedMessage, encodeMessage, KIND, prefixOf } from "./message.ts";
import { unavailable } from "./outgoing_call.ts";
import { PeerProtocolError, type PeerReport } from "./types.ts";

export interface ServedOptions extends ConnectionOptions {
  /** This broker. */
  readonly nodeId: string;
  readonly from: string;
  readonly handlerOf: (method: string) => PeerHandler | null;
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
  readonly #link: FrameLink;
  #servingBytes = 0;

  constructor(private readonly options: ServedOptions) {
    this.#link = new FrameLink({
      ...options,
      take: (frame) => this.#take(frame),
      written: () => this.#beginWaiting(),
      ended: (why) => this.#giveUp(why),
    });
  }

  heard(): void {
    this.#link.heard();
  }

  end(why: unknown): void {
    this.#link.end(why);
  }

  #giveUp(why: unknown): void {
    this.#waiting = [];
    const serving = [...this.#serving.values()];
    this.#serving.clear();
    for (const { abort } of serving) abort.abort();
    this.options.ended(why);
  }

  #take(frame: Uint8Array): void {
    const { kind, id } = prefixOf(frame);
    if (kind === KIND.ping) return this.#link.push(encodeMessage(KIND.pong, id));
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
    if (this.#waiting.length > 0 || this.#link.waitingBytes > maxAnswerBytes) {
      this.#waiting.push(id);
    } else void this.#serve(id);
  }

  #beginWaiting(): void {
    while (
      this.#waiting.length > 0 && this.#link.waitingBytes <= this.options.bounds.maxAnswerBytes
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
    if (this.#link.hasEnded) return;
    this.#serving.delete(id);
    this.#servingBytes -= bytes;
    this.#link.push(answer);
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
