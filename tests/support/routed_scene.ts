// Owns brokers of a cluster that answer with who they are and what they were asked, each behind its one door, in memory.
// Refuses to own what real brokers answer. Invariant: a broker that does not lead what it is asked for refuses with
// NOT_LEADER, as a real one does.
import type { Broker, Topic } from "../../actors/broker.ts";
import { RoutedBroker } from "../../actors/cluster/routed_broker.ts";
import { isOwned } from "../../actors/cluster/routed_part.ts";
import { Router } from "../../actors/cluster/router.ts";
import { type Route, ROUTES } from "../../actors/cluster/routes.ts";
import type { GroupNotification } from "../../actors/group/types.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { FixedCluster } from "./fixed_view.ts";
import { MemoryNetwork } from "./memory_peers.ts";
import { TOPIC_CONFIG } from "./memory_broker.ts";
import { VirtualClock } from "./virtual_time.ts";

export interface Asked {
  readonly by: string;
  readonly method: string;
  readonly args: readonly unknown[];
}

type Answer = (...args: never[]) => unknown;

export class FakeNode {
  readonly asked: Asked[] = [];
  /** In the place of the answer that says who and what; by `part.method`. */
  readonly answers = new Map<string, Answer>();
  readonly listeners = new Map<string, (notification: GroupNotification) => void>();
  /** As if it had not heard yet who leads: refuses nothing. */
  broker!: RoutedBroker;
  local!: Broker;

  constructor(readonly nodeId: string) {}

  count(method: string): number {
    return this.asked.filter((one) => one.method === method).length;
  }

  tell(memberId: string, notification: GroupNotification): void {
    this.listeners.get(memberId)?.(notification);
  }
}

export const TOPICS = ["orders", "__groups", "__transactions", "__requests"];
const SINGLE = ["__jobs", "__audit", "__alerts", "__runbooks"];

export class RoutedScene {
  readonly time = new VirtualClock();
  /** One way, in ms. */
  delayMs: () => number = () => 1;
  readonly network = new MemoryNetwork({
    clock: this.time,
    timers: this.time,
    delayMs: () => this.delayMs(),
  });
  readonly cluster: FixedCluster;
  readonly nodes = new Map<string, FakeNode>();
  readonly topics = new Map<string, Topic>();
  readonly reports: unknown[] = [];

  constructor(nodes: readonly string[] = ["a", "b", "c"]) {
    this.cluster = new FixedCluster(nodes);
    for (const name of TOPICS) this.addTopic(name, 3);
    for (const name of SINGLE) this.addTopic(name, 1);
    for (const nodeId of nodes) this.start(nodeId);
  }

  addTopic(name: string, partitionCount: number): void {
    this.topics.set(name, {
      topicId: `id-${name}`,
      name,
      partitionCount,
      config: TOPIC_CONFIG,
      createdAt: 0,
      internal: name.startsWith("__"),
    });
  }

  node(nodeId: string): FakeNode {
    return this.nodes.get(nodeId)!;
  }

  /** Every partition of every topic, or of one. */
  leadAll(leader: string | null, only?: string): void {
    for (const { topicId, name, partitionCount } of this.topics.values()) {
      if (only !== undefined && name !== only) continue;
      for (let partition = 0; partition < partitionCount; partition++) {
        this.cluster.lead(topicId, partition, leader);
      }
    }
  }

  start(nodeId: string): FakeNode {
    const node = new FakeNode(nodeId);
    const view = this.cluster.view(nodeId);
    const topic = (name: string) => this.topics.get(name) ?? null;
    const { time: clock, time: timers } = this;
    const peers = this.network.join(nodeId);
    const router = new Router({ view, peers, clock, timers, topic });
    const part = (name: string, routes: Readonly<Record<string, Route>>) =>
      Object.fromEntries(
        Object.entries(routes).map(([method, route]) => [method, (...args: unknown[]) => {
          node.asked.push({ by: nodeId, method: `${name}.${method}`, args });
          if (isOwned(route) && router.ownerOf(route.to(...args)).at !== "here") {
            return Promise.reject(new BrokerError("NOT_LEADER", `not ${nodeId}`));
          }
          const answer = node.answers.get(`${name}.${method}`);
          if (answer !== undefined) return answer(...args as never[]);
          const said = { by: nodeId, method: `${name}.${method}`, args: args.map(withoutSignal) };
          return isOwned(route) ? Promise.resolve(said) : said;
        }]),
      );
    const parts = Object.fromEntries(
      Object.entries(ROUTES).map(([name, routes]) => [
        name,
        part(name, routes as Readonly<Record<string, Route>>),
      ]),
    );
    const local = {
      ...parts,
      ...parts.broker,
      nodeId,
      clusterId: "cluster",
      topic,
      onGroupNotification: (
        { memberId }: { memberId: string },
        listener: (notification: GroupNotification) => void,
      ) => {
        node.listeners.set(memberId, listener);
        return () => {
          if (node.listeners.get(memberId) === listener) node.listeners.delete(memberId);
        };
      },
    };
    node.local = local as unknown as Broker;
    const alerts = parts.alerts as Record<string, unknown>;
    alerts.onChanged = () => () => {};
    alerts.list = () => node.answers.get("alerts.list")?.() ?? [];
    const report = (event: unknown) => this.reports.push(event);
    node.broker = new RoutedBroker({ local: node.local, view, peers, clock, timers, report });
    this.nodes.set(nodeId, node);
    return node;
  }

  /** Runs `call` in virtual time, `forMs` at most. */
  async run<T>(call: Promise<T>, forMs = 15_000): Promise<T> {
    let isOver = false;
    const settled = call.finally(() => isOver = true);
    settled.catch(() => {});
    await this.time.advance(0);
    for (let ms = 0; ms < forMs && !isOver; ms += 5) await this.time.advance(5);
    if (!isOver) throw new Error(`not over after ${forMs} ms`);
    return await settled;
  }

  close(): void {
    for (const { broker } of this.nodes.values()) broker.close();
  }
}

function withoutSignal(value: unknown): unknown {
  if (typeof value !== "object" || value === null || !("signal" in value)) return value;
  const { signal: _signal, ...plain } = value;
  return plain;
}
