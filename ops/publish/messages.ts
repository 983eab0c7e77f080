// Owns what the event loop and a publish thread say to each other.
// Refuses to own saying it. Invariant: plain data and buffers that change hands; an answer for every request.
import type { Topic } from "../../actors/broker.ts";
import type { PreparedPublish, RawPublish } from "../../api/publish_preparation.ts";
import { BrokerError, type ErrorCode } from "../../storage/broker_error.ts";

export type ToThread =
  /** The first word. */
  | { readonly type: "start"; readonly limits: unknown }
  | {
    readonly type: "prepare";
    readonly id: number;
    readonly raw: RawPublish;
  }
  /** The topic that the request asked for, null when there is none. */
  | { readonly type: "topic"; readonly id: number; readonly topic: Topic | null }
  /** Whoever sent the request may not write to the topic. */
  | { readonly type: "forbidden"; readonly id: number; readonly error: ErrorAsData };

export type FromThread =
  | { readonly type: "ready" }
  /** Each request asks for its topic, since each is somebody's who may or may not write to it. */
  | { readonly type: "ask"; readonly id: number; readonly name: string }
  | { readonly type: "prepared"; readonly id: number; readonly prepared: PreparedPublish }
  | { readonly type: "refused"; readonly id: number; readonly error: ErrorAsData };

/** An error that can cross threads. */
export interface ErrorAsData {
  /** Null: a fault of the broker's own. */
  readonly code: ErrorCode | null;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export function errorAsData(error: unknown): ErrorAsData {
  if (error instanceof BrokerError) {
    return { code: error.code, message: error.message, details: error.details };
  }
  const message = error instanceof Error ? error.stack ?? error.message : String(error);
  return { code: null, message, details: {} };
}

export function errorOfData({ code, message, details }: ErrorAsData): Error {
  return code === null ? new Error(message) : new BrokerError(code, message, details);
}
