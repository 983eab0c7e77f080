// Owns the calls of this broker on one connection that it has made: ids, answers, giving up, the end.
// Refuses to own connecting (peer_lane.ts) and what is called.
// Invariant: what was asked keeps its place among `maxCalls` until the other side is done with it, whoever still waits.
import { BrokerError, ERROR_CODES, type ErrorCode } from "../../storage/broker_error.ts";
import { type ConnectionOptions, FrameLink } from "./frame_link.ts";
import { dataOf, encodeMessage, KIND, prefixOf } from "./message.ts";
import { type OutgoingCall, unavailable } from "./outgoing_call.ts";
import { PeerProtocolError } from "./types.ts";

export interface DialledOptions extends ConnectionOptions {
  readonly to: string;
}

interface Asked {
  readonly call: OutgoingCall;
  readonly bytes: number;
}

const MAX_ID = 2 ** 32 - 1;

export class DialledConnection {
  readonly #asked = new Map<number, Asked>();
  readonly #link: FrameLink;
  #askedBytes = 0;
  #lastId = 0;

  constructor(private readonly options: DialledOptions) {
    this.#link = new FrameLink({
      ...options,
      take: (frame) => this.#take(frame),
      ping: () => this.#link.push(encodeMessage(KIND.ping, 0)),
      ended: (why) => this.#lost(why),
    });
  }

  heard(): void {
    this.#link.heard();
  }

  /** Sends it, or refuses it when too much is asked already. */
  send(call: OutgoingCall): void {
    const { bounds, to } = this.options;
    if (call.hasEnded) return;
    if (this.#link.hasEnded) return call.lost("the connection has ended");
    const id = this.#nextId();
    const message = encoded(call, id);
    if (message === null) return;
    if (message.bytes > bounds.maxFrameBytes) {
      return call.refused(tooLarge(call.options.method, message.bytes));
    }
    const askedBytes = this.#askedBytes + message.bytes;
    if (this.#asked.size >= bounds.maxCalls || askedBytes > bounds.maxCallBytes) {
      return call.refused(unavailable(to, "too much is asked of it already"));
    }
    this.#askedBytes = askedBytes;
    this.#asked.set(id, { call, bytes: message.bytes });
    call.onGivenUp = () => {
      if (call.isSent) this.#link.push(encodeMessage(KIND.cancel, id));
      else this.#forget(id);
    };
    const begin = () => {
      if (!call.hasEnded) call.sent();
      return call.isSent;
    };
    this.#link.push({ ...message, begin });
  }

  end(why: unknown): void {
    this.#link.end(why);
  }

  #lost(why: unknown): void {
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    for (const { call } of asked) call.lost("the connection has ended", why);
    this.options.ended(why);
  }

  #take(frame: Uint8Array): void {
    const { kind, id } = prefixOf(frame);
    if (kind === KIND.pong) return;
    if (kind !== KIND.answer && kind !== KIND.failure) {
      throw new PeerProtocolError(`a message of kind ${kind}`);
    }
    const call = this.#forget(id);
    if (call === null || call.hasEnded) return;
    try {
      const data = dataOf(frame);
      if (kind === KIND.answer) call.answered(data);
      else call.refused(errorOf(data));
    } catch (error) {
      call.refused(new BrokerError("INTERNAL", "an answer cannot be read", {}, { cause: error }));
    }
  }

  #forget(id: number): OutgoingCall | null {
    const asked = this.#asked.get(id);
    if (asked === undefined) return null;
    this.#asked.delete(id);
    this.#askedBytes -= asked.bytes;
    return asked.call;
  }

  #nextId(): number {
    do this.#lastId = this.#lastId === MAX_ID ? 1 : this.#lastId + 1; while (
      this.#asked.has(this.#lastId)
    );
    return this.#lastId;
  }
}

/** Null when what it says is no plain data. */
function encoded(call: OutgoingCall, id: number) {
  try {
    return call.options.encode(id);
  } catch (error) {
    const message = `${call.options.method} cannot be said to a peer`;
    call.refused(new BrokerError("INTERNAL", message, {}, { cause: error }));
    return null;
  }
}

function tooLarge(method: string, bytes: number): BrokerError {
  return new BrokerError(
    "REQUEST_TOO_LARGE",
    `${method} of ${bytes} bytes is too large for a peer`,
  );
}

function errorOf(data: unknown): BrokerError {
  if (!Array.isArray(data) || data.length !== 3) throw new PeerProtocolError("a failure is none");
  const [code, message, details] = data as [ErrorCode, string, Record<string, unknown>];
  // A newer release may know more codes.
  if (!Object.hasOwn(ERROR_CODES, code)) return new BrokerError("INTERNAL", `${code}: ${message}`);
  return new BrokerError(code, message, details);
}
