// Owns a network between brokers in memory and virtual time: delays, cuts one way and both ways, nodes that go.
// Refuses to own real bytes (ops/peer/) and what methods mean.
// Invariant: it does what TCP with keepalive would: a lane's calls arrive in order or its connection ends, nothing that
// crosses is shared, PEER_UNAVAILABLE only for what was never sent.
import type {
  PeerCallOptions,
  PeerHandler,
  PeerRequest,
  Peers,
} from "../../actors/cluster/peers.ts";
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import { plainCopy } from "./plain_copy.ts";

export interface MemoryNetworkOptions {
  readonly clock: Pick<Clock, "monotonic">;
  readonly timers: Timers;
  /** One way, drawn for each message; default 1 ms. */
  readonly delayMs?: (from: string, to: string) => number;
  /** How long a cut goes unnoticed: calls are sent meanwhile, and held. Default 2,000. */
  readonly detectMs?: number;
}

interface OpenCall {
  /** Ends it at its caller, once. */
  readonly end: (how: () => void) => void;
  readonly lost: (why: string) => void;
  readonly abort: AbortController;
}

type Message = () => void;

/** All that one node sends to another to call it, and what comes back: it lives and breaks as a whole. */
interface Link {
  broken: boolean;
  readonly calls: Set<OpenCall>;
  /** By way and lane: when its last message arrives. */
  readonly lastDue: Map<string, number>;
  /** What has arrived at a cut, in order. */
  readonly held: Message[];
  cancelDetection: Cancel | null;
}

interface Way {
  readonly from: string;
  readonly to: string;
}

interface Node {
  readonly handlers: Map<string, PeerHandler>;
  readonly incarnation: () => number;
}

export class MemoryNetwork {
  readonly #nodes = new Map<string, Node>();
  readonly #cuts = new Set<string>();
  /** By caller and called. */
  readonly #links = new Map<string, Link>();

  constructor(private readonly options: MemoryNetworkOptions) {}

  /** The peers of a node that has come; it may have been there before. */
  join(nodeId: string, incarnation: number | (() => number) = 1): Peers {
    const of = typeof incarnation === "number" ? () => incarnation : incarnation;
    const node: Node = { handlers: new Map(), incarnation: of };
    this.leave(nodeId);
    this.#nodes.set(nodeId, node);
    return {
      call: <T>(to: string, request: PeerRequest, options: PeerCallOptions) =>
        this.#call<T>(node, { from: nodeId, to }, { request, options }),
      handle: (method, handler) => {
        if (node.handlers.has(method)) throw new Error(`${method} has a handler already`);
        node.handlers.set(method, handler);
      },
    };
  }

  /** The node's process ends: its connections are reset. */
  leave(nodeId: string): void {
    if (!this.#nodes.delete(nodeId)) return;
    for (const [name, link] of this.#links) {
      const { from, to } = wayOf(name);
      if (from === nodeId || to === nodeId) this.#break(name, link, `${nodeId} has gone`);
    }
  }

  /** Nothing of `from` reaches `to` any more. */
  cutOneWay(from: string, to: string): void {
    this.#cuts.add(nameOf({ from, to }));
    this.#watch({ from, to });
    this.#watch({ from: to, to: from });
  }

  cut(a: string, b: string): void {
    this.cutOneWay(a, b);
    this.cutOneWay(b, a);
  }

  /** The connection by which `from` calls `to` ends, as when something between them has forgotten it. */
  reset(from: string, to: string): void {
    const name = nameOf({ from, to });
    const link = this.#links.get(name);
    if (link !== undefined) this.#break(name, link, "the connection was reset");
  }

  /** Cuts a node from all that are there now. */
  isolate(nodeId: string): void {
    for (const other of this.#nodes.keys()) if (other !== nodeId) this.cut(nodeId, other);
  }

  /** All that was cut between the two; left out: everywhere. What was held up and is not lost yet arrives. */
  heal(a?: string, b?: string): void {
    for (const name of [...this.#cuts]) {
      const { from, to } = wayOf(name);
      const isMeant = a === undefined ||
        (b === undefined ? from === a || to === a : pair(a, b, from, to));
      if (isMeant) this.#cuts.delete(name);
    }
    for (const [name, link] of this.#links) {
      const way = wayOf(name);
      if (this.#isCut(way)) continue;
      link.cancelDetection?.();
      link.cancelDetection = null;
      // At once, so that nothing that was sent later overtakes it.
      for (const run of link.held.splice(0)) run();
    }
  }

  async #call<T>(
    caller: Node,
    way: Way,
    { request, options }: { request: PeerRequest; options: PeerCallOptions },
  ): Promise<T> {
    const { from, to } = way;
    const { method, lane = "control" } = request;
    const args = plainCopy(request.args);
    if (this.#nodes.get(from) !== caller) throw unavailable(to, "this node has gone");
    if (options.signal?.aborted === true) throw unavailable(to, "nobody waits for it");
    const link = this.#linkTo(way);
    if (link === null) {
      await this.#pass(way);
      throw unavailable(to, "it cannot be reached");
    }
    const incarnation = caller.incarnation();
    return await new Promise<T>((resolve, reject) => {
      const abort = new AbortController();
      let ended = false;
      const call: OpenCall = {
        abort,
        end: (how) => {
          if (ended) return;
          ended = true;
          link.calls.delete(call);
          cancelTimeout();
          options.signal?.removeEventListener("abort", givenUp);
          how();
        },
        lost: (why) => {
          call.end(() =>
            reject(
              new BrokerError("PEER_LOST", `${to} did not answer ${method}: ${why}`, {
                nodeId: to,
              }),
            )
          );
        },
      };
      const cancel = (why: string) => {
        call.lost(why);
        this.#send(link, { way, lane }, () => abort.abort());
      };
      const givenUp = () => cancel("nobody waits for it any more");
      const cancelTimeout = this.options.timers.after(options.timeoutMs, () => {
        cancel(`${options.timeoutMs} ms have passed`);
      });
      options.signal?.addEventListener("abort", givenUp);
      link.calls.add(call);
      const answer = (how: Message) =>
        this.#send(link, { way: { from: to, to: from }, lane }, () => call.end(how));
      this.#send(link, { way, lane }, () => {
        const handler = this.#nodes.get(to)?.handlers.get(method);
        if (handler === undefined) {
          return answer(() => reject(unavailable(to, `it does not serve ${method}`)));
        }
        void handled(() => handler(args, { nodeId: from, incarnation }, abort.signal)).then(
          (value) => answer(() => resolve(value as T)),
          (error) => answer(() => reject(error)),
        );
      });
    });
  }

  /** Null when it cannot be connected. */
  #linkTo(way: Way): Link | null {
    const name = nameOf(way);
    const link = this.#links.get(name);
    if (link !== undefined && !link.broken) return link;
    if (!this.#nodes.has(way.to) || this.#isCut(way)) return null;
    const made: Link = {
      broken: false,
      calls: new Set(),
      lastDue: new Map(),
      held: [],
      cancelDetection: null,
    };
    this.#links.set(name, made);
    return made;
  }

  #isCut({ from, to }: Way): boolean {
    return this.#cuts.has(nameOf({ from, to })) || this.#cuts.has(nameOf({ from: to, to: from }));
  }

  #watch(way: Way): void {
    const name = nameOf(way);
    const link = this.#links.get(name);
    if (link === undefined || link.broken || link.cancelDetection !== null) return;
    link.cancelDetection = this.options.timers.after(this.options.detectMs ?? 2_000, () => {
      this.#break(name, link, "the connection is dead");
    });
  }

  #break(name: string, link: Link, why: string): void {
    link.broken = true;
    link.cancelDetection?.();
    link.held.length = 0;
    if (this.#links.get(name) === link) this.#links.delete(name);
    for (const call of [...link.calls]) {
      call.lost(why);
      call.abort.abort();
    }
  }

  #send(link: Link, { way, lane }: { way: Way; lane: string }, run: Message): void {
    if (link.broken) return;
    const name = nameOf(way);
    const now = this.options.clock.monotonic();
    const key = `${name} ${lane}`;
    const due = Math.max(link.lastDue.get(key) ?? 0, now + this.#delayMs(way));
    link.lastDue.set(key, due);
    this.options.timers.after(due - now, () => {
      if (link.broken) return;
      if (this.#cuts.has(name)) link.held.push(run);
      else run();
    });
  }

  #pass(way: Way): Promise<void> {
    return new Promise((resolve) => {
      this.options.timers.after(this.#delayMs(way), resolve);
    });
  }

  #delayMs({ from, to }: Way): number {
    return this.options.delayMs?.(from, to) ?? 1;
  }
}

async function handled(work: () => Promise<unknown>): Promise<unknown> {
  try {
    return plainCopy(await work());
  } catch (error) {
    const { code, message, details } = asBrokerError(error);
    throw new BrokerError(code, message, plainCopy(details) as Record<string, unknown>);
  }
}

function unavailable(nodeId: string, why: string): BrokerError {
  return new BrokerError("PEER_UNAVAILABLE", `${nodeId} was not asked: ${why}`, { nodeId });
}

function nameOf({ from, to }: Way): string {
  return `${from} ${to}`;
}

function wayOf(name: string): Way {
  const [from, to] = name.split(" ");
  return { from: from!, to: to! };
}

function pair(a: string, b: string, from: string, to: string): boolean {
  return (from === a && to === b) || (from === b && to === a);
}
