// Owns bringing a call to the leader of its partition, wherever that is, and trying again when leadership has moved.
// Refuses to own which partition that is (routes.ts), and what the call does.
// Invariant: a call that may have changed something is never made twice; what is led here is called at once, so that
// what one caller asks one behind the other stays in order.
import { BrokerError, type ErrorCode } from "../../storage/broker_error.ts";
import { partitionForKey } from "../../storage/format/murmur2.ts";
import type { Clock, Timers } from "../../storage/ports.ts";
import type { Topic, TopicPartition } from "../broker.ts";
import type { PeerRequest, Peers } from "./peers.ts";
import type { OwnedRoute, Place } from "./routes.ts";
import type { ClusterView } from "./types.ts";

/** How long, and how often, a call that nobody has taken is brought to whoever leads by then. */
export const MAX_ROUTING_MS = 10_000;
export const MAX_TRIES = 40;
const MIN_BACKOFF_MS = 20;
const MAX_BACKOFF_MS = 300;

/** Nothing has happened: whoever was asked does not lead, or was not reached. */
const NOT_TAKEN: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "NOT_LEADER",
  "LEADER_NOT_AVAILABLE",
  "PEER_UNAVAILABLE",
  "STALE_EPOCH",
]);
/** It may have happened: asked again where asking changes nothing. */
const UNKNOWN_OUTCOME: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "PEER_LOST",
  "METADATA_UNAVAILABLE",
  "SHUTTING_DOWN",
]);

export interface RouterOptions {
  readonly view: ClusterView;
  readonly peers: Peers;
  readonly clock: Pick<Clock, "monotonic">;
  readonly timers: Timers;
  readonly topic: (name: string) => Topic | null;
}

/** Where a call belongs: here, at a node, or at nobody just now. */
export type Owner =
  | { readonly at: "here" }
  | { readonly at: "node"; readonly nodeId: string }
  | { readonly at: "nobody"; readonly why: string };

/** `leftMs`: of the call's `withinMs`; null without. */
export interface Attempt<R> {
  readonly here: (leftMs: number | null) => Promise<R>;
  readonly there: (nodeId: string, leftMs: number | null) => Promise<R>;
}

export interface RoutedCall {
  readonly route: Pick<OwnedRoute, "reads"> & { readonly hasEpoch?: boolean };
  readonly place: Place;
  /** Of the call in all, however often it is made; left out: each time as long as an answer may take. */
  readonly withinMs?: number;
  readonly signal?: AbortSignal;
}

const HERE: Owner = Object.freeze({ at: "here" });
const encoder = new TextEncoder();

export class Router {
  readonly #closing = new AbortController();

  constructor(readonly options: RouterOptions) {}

  get nodeId(): string {
    return this.options.view.nodeId;
  }

  close(): void {
    this.#closing.abort();
  }

  /** The partition of `place`; null when there is no such topic or partition here: whoever is asked here says so. */
  partitionOf(place: Place): (TopicPartition & { readonly topicId: string }) | null {
    const topic = this.options.topic(place.topic);
    if (topic === null) return null;
    const { topicId, partitionCount } = topic;
    const partition = "key" in place
      ? partitionForKey(encoder.encode(place.key), partitionCount)
      : place.partition;
    const exists = Number.isInteger(partition) && partition >= 0 && partition < partitionCount;
    return exists ? { topic: place.topic, topicId, partition } : null;
  }

  ownerOf(place: Place): Owner {
    const at = this.partitionOf(place);
    if (at === null) return HERE;
    const kept = this.options.view.partition(at.topicId, at.partition);
    const leader = kept?.record.leader ?? null;
    if (leader === this.nodeId) return HERE;
    if (leader !== null) return { at: "node", nodeId: leader };
    const why = kept === null ? "nobody was chosen yet" : "none of its replicas can lead it";
    return { at: "nobody", why: `${at.topic}/${at.partition} has no leader: ${why}` };
  }

  /** Calls it where it belongs, now or as soon as somebody leads there. */
  async call<R>(call: RoutedCall, attempt: Attempt<R>): Promise<R> {
    const { clock } = this.options;
    const deadlineMs = call.withinMs === undefined ? null : clock.monotonic() + call.withinMs;
    const leftMs = () => deadlineMs === null ? null : Math.max(0, deadlineMs - clock.monotonic());
    let hint: string | null = null;
    let untilMs: number | null = null;
    for (let tries = 1;; tries++) {
      const owner = this.#owner(call.place, hint);
      try {
        return await this.#ask(owner, attempt, leftMs());
      } catch (error) {
        if (!this.#mayAskAgain(error, call, owner)) throw error;
        untilMs ??= Math.min(clock.monotonic() + MAX_ROUTING_MS, deadlineMs ?? Infinity);
        const remainingMs = untilMs - clock.monotonic();
        if (tries === MAX_TRIES || remainingMs <= 0) throw this.#asSeen(error, call);
        hint = hint === null ? this.#newsOf(error, owner) : null;
        if (hint === null) await this.#pause(Math.min(remainingMs, backoffMs(tries)), call);
      }
    }
  }

  /** Calls `method` at a node, once. */
  async there<R>(
    nodeId: string,
    request: PeerRequest,
    { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<R> {
    const { peers } = this.options;
    return await peers.call<R>(nodeId, { lane: "data", ...request }, {
      timeoutMs,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Resolves after `forMs`, or when the partition's record has changed; rejects when it is not worth waiting. */
  async #pause(forMs: number, { place, signal }: RoutedCall): Promise<void> {
    const { view, timers } = this.options;
    const at = this.partitionOf(place);
    const ends = [this.#closing.signal, ...(signal === undefined ? [] : [signal])];
    await new Promise<void>((resolve) => {
      const wake = () => {
        cancel();
        unwatch();
        for (const end of ends) end.removeEventListener("abort", wake);
        resolve();
      };
      const cancel = timers.after(forMs, wake);
      const unwatch = at === null ? () => {} : view.onPartition(at, wake);
      for (const end of ends) end.addEventListener("abort", wake);
      if (ends.some((end) => end.aborted)) wake();
    });
    if (this.#closing.signal.aborted) {
      throw new BrokerError("SHUTTING_DOWN", "the broker is shutting down");
    }
    signal?.throwIfAborted();
  }

  #owner(place: Place, hint: string | null): Owner {
    if (hint === null) return this.ownerOf(place);
    return hint === this.nodeId ? HERE : { at: "node", nodeId: hint };
  }

  async #ask<R>(owner: Owner, attempt: Attempt<R>, leftMs: number | null): Promise<R> {
    if (owner.at === "here") return await attempt.here(leftMs);
    if (owner.at === "node") return await attempt.there(owner.nodeId, leftMs);
    throw new BrokerError("LEADER_NOT_AVAILABLE", owner.why);
  }

  #mayAskAgain(
    error: unknown,
    { route, signal }: RoutedCall,
    owner: Owner,
  ): error is BrokerError {
    if (!(error instanceof BrokerError) || signal?.aborted === true) return false;
    if (this.#closing.signal.aborted) return false;
    if (error.code === "STALE_EPOCH" && route.hasEpoch === true) return false;
    if (NOT_TAKEN.has(error.code)) return true;
    if (route.reads !== true || !UNKNOWN_OUTCOME.has(error.code)) return false;
    // This broker's own end is no reason to ask it again.
    return error.code !== "SHUTTING_DOWN" || owner.at === "node";
  }

  /** Whoever refused may know who leads, before this broker has heard of it. */
  #newsOf({ code, details: { leader } }: BrokerError, owner: Owner): string | null {
    if (code !== "NOT_LEADER" || typeof leader !== "string") return null;
    const asked = owner.at === "node" ? owner.nodeId : this.nodeId;
    return leader !== asked && this.options.view.online().has(leader) ? leader : null;
  }

  /** Who leads, and who could not be reached, is the cluster's own affair. */
  #asSeen(error: BrokerError, { place }: RoutedCall): BrokerError {
    if (error.code !== "NOT_LEADER" && error.code !== "PEER_UNAVAILABLE") return error;
    const at = this.partitionOf(place);
    const name = at === null ? place.topic : `${at.topic}/${at.partition}`;
    const message = `nobody who leads ${name} can be reached`;
    return new BrokerError("LEADER_NOT_AVAILABLE", message, {}, { cause: error });
  }
}

function backoffMs(tries: number): number {
  return Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** Math.min(tries - 1, 10));
}
