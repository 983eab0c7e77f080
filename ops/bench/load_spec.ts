// Owns what the bench tells its load processes and what they answer.
// Refuses to own doing it. Invariant: plain JSON both ways.
import type { Latency } from "./quantiles.ts";

interface Target {
  readonly url: string;
  readonly topic: string;
  readonly seconds: number;
}

export interface HttpPublishSpec extends Target {
  readonly kind: "http-publish";
  readonly format: "json" | "msgpack";
  readonly perRequest: number;
  readonly messageBytes: number;
  readonly connections: number;
  /** Each request names one of these, in turn. */
  readonly partitions: number;
  /** Requests a second in all; null: as many as there can be. */
  readonly rate: number | null;
  /** What is still due when the time is over is left, and what counts is when it was answered; else all is sent and counts. */
  readonly endsOnTime?: boolean;
  /** Bearer token; left out: none. */
  readonly token?: string;
}

export interface SdkPublishSpec extends Target {
  readonly kind: "sdk-publish";
  readonly messageBytes: number;
  /** Stop after this many bytes even before the time is over; null: only time. */
  readonly totalBytes: number | null;
  /** Default true, as in the client. */
  readonly idempotent?: boolean;
}

export interface ConsumeSpec {
  readonly kind: "consume";
  readonly url: string;
  readonly topic: string;
  readonly group: string;
  readonly format: "json" | "msgpack" | "batch";
  /** Ends when so many have arrived. */
  readonly messages: number;
  readonly maxInFlight: number;
}

export interface EndToEndSpec extends Target {
  readonly kind: "end-to-end";
  readonly messageBytes: number;
  readonly rate: number;
}

/** Opens consumers that have nothing to read, says so on standard output, and waits to be ended. */
export interface IdleSpec {
  readonly kind: "idle";
  readonly url: string;
  readonly topic: string;
  readonly consumers: number;
}

/** Does harm on so many sockets, says so on standard output, and goes on until it is ended. */
export interface HostileSpec {
  readonly kind: "hostile";
  readonly url: string;
  /** Has messages for consumers that never read them. */
  readonly topic: string;
  readonly attack:
    | "idle sockets"
    | "slowloris"
    | "consumers that never read"
    | "endless fragments";
  readonly sockets: number;
}

export type LoadSpec =
  | HttpPublishSpec
  | SdkPublishSpec
  | ConsumeSpec
  | EndToEndSpec
  | IdleSpec
  | HostileSpec;

export interface LoadResult {
  readonly messages: number;
  readonly bytes: number;
  readonly ms: number;
  readonly latency: Latency | null;
  /** Requests that were not answered with 200. */
  readonly refused: number;
}
