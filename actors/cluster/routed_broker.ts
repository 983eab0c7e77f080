// Owns the Broker port in a cluster: one door, whichever broker it is asked at; what is led here is answered here, all else
// by whoever leads it.
// Refuses to own who leads (the view), who answers what (routes.ts), and every answer itself.
// Invariant: nothing is kept here that a broker could not do without after a restart.
import type { Clock, Timers } from "../../storage/ports.ts";
import type { AccessKeys } from "../access_key/types.ts";
import type { Acls } from "../acl/types.ts";
import type { AuditLog } from "../audit/types.ts";
import type {
  Broker,
  Revival,
  Topic,
  TopicChange,
  TopicDescription,
  TopicPartition,
  TopicSpec,
} from "../broker.ts";
import type { OffsetLedger } from "../group/ledger/types.ts";
import type { GroupCommand, GroupNotification, GroupReply, GroupSummary } from "../group/types.ts";
import type { Jobs } from "../job/types.ts";
import type { Producers } from "../partition/types.ts";
import type { Quotas } from "../quota/types.ts";
import type { RequestKeysPort } from "../request_keys/types.ts";
import type { Runbooks } from "../runbook/types.ts";
import type { Alerts } from "../threshold/types.ts";
import type { Traces } from "../trace/types.ts";
import type { Transactions } from "../transaction/types.ts";
import { GroupTies } from "./group_ties.ts";
import type { Peers } from "./peers.ts";
import { RoutedAlerts, serveAlerts } from "./routed_alerts.ts";
import { RoutedOutcomes, RoutedRefusals } from "./routed_audit.ts";
import { Gather, serveGather } from "./routed_gather.ts";
import { RoutedGroups } from "./routed_groups.ts";
import { callOwner, routedPart, servePeers } from "./routed_part.ts";
import { Router } from "./router.ts";
import { type OwnedRoute, type PartName, ROUTES } from "./routes.ts";
import type { ClusterView } from "./types.ts";

/** How long the answer to making or growing a topic waits for its partitions to have leaders. */
const LED_WITHIN_MS = 5_000;

export interface RoutedBrokerOptions {
  /** Answers for what this broker leads, and refuses with NOT_LEADER (`leader`: a node id) for what it does not. */
  readonly local: Broker;
  readonly view: ClusterView;
  readonly peers: Peers;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly report: (event: { level: "warning"; message: string; error?: unknown }) => void;
}

/** What is asked of the broker itself, its parts left out. */
type OwnMethods = Omit<Broker, "nodeId" | "clusterId" | Exclude<PartName, "broker">>;

export class RoutedBroker implements Broker {
  readonly nodeId: string;
  readonly clusterId: string;
  readonly accessKeys: AccessKeys;
  readonly acls: Acls;
  readonly quotas: Quotas;
  readonly audit: AuditLog;
  readonly producers: Producers;
  readonly transactions: Transactions;
  readonly jobs: Jobs;
  readonly alerts: Alerts;
  readonly runbooks: Runbooks;
  readonly traces: Traces;
  readonly requestKeys: RequestKeysPort;
  readonly ledger: OffsetLedger;
  readonly router: Router;
  readonly #methods: OwnMethods;
  readonly #gather: Gather;
  readonly #groups: RoutedGroups;
  readonly #alerts: RoutedAlerts;
  readonly #refusals: RoutedRefusals;
  readonly #outcomes: RoutedOutcomes;

  /** Serves other brokers too, from now on: `local` must be open. */
  constructor(private readonly options: RoutedBrokerOptions) {
    const { local, view, peers, clock, timers, report } = options;
    this.nodeId = local.nodeId;
    this.clusterId = local.clusterId;
    const router = new Router({ view, peers, clock, timers, topic: (name) => local.topic(name) });
    this.router = router;
    const of = { router, local };
    this.#gather = new Gather({ ...of, view });
    this.#groups = new RoutedGroups({ ...of, peers, view, timers });
    this.#alerts = new RoutedAlerts({ ...of, timers });
    this.accessKeys = routedPart<AccessKeys, object>("accessKeys", of, {});
    this.acls = routedPart<Acls, object>("acls", of, {});
    this.quotas = routedPart<Quotas, object>("quotas", of, {});
    this.producers = routedPart<Producers, object>("producers", of, {});
    this.jobs = routedPart<Jobs, object>("jobs", of, {});
    this.runbooks = routedPart<Runbooks, object>("runbooks", of, {});
    this.requestKeys = routedPart<RequestKeysPort, object>("requestKeys", of, {});
    this.ledger = routedPart<OffsetLedger, object>("ledger", of, {});
    const route = ROUTES.audit.conclude as OwnedRoute;
    this.#outcomes = new RoutedOutcomes({
      clock,
      timers,
      report,
      conclude: (...args) => callOwner({ name: "audit", method: "conclude", route }, of, args),
    });
    this.audit = routedPart("audit", of, {
      conclude: (intent, result) => this.#outcomes.conclude(intent, result),
      refused: (refusal) => this.#refusals.refused(refusal),
    });
    const record: AuditLog["record"] = (facts, result) => this.audit.record(facts, result);
    this.#refusals = new RoutedRefusals({ clock, timers, record, report });
    this.transactions = routedPart("transactions", of, {
      unfinished: (asked) => this.#gather.unfinished(asked),
    });
    this.traces = routedPart("traces", of, { find: (request) => this.#gather.trace(request) });
    this.alerts = routedPart("alerts", of, {
      observe: (sample, signals) => this.#alerts.observe(sample, signals),
      list: (filter) => this.#alerts.list(filter),
      find: (alertId) => this.#alerts.find(alertId),
      onChanged: (listener) => this.#alerts.onChanged(listener),
    });
    this.#methods = routedPart<OwnMethods, object>("broker", of, {});
    servePeers(peers, local);
    serveGather(peers, local);
    serveAlerts(peers, local);
    new GroupTies({ ...of, peers, view });
  }

  /** Made when the metadata store has it; answered when its partitions have leaders, or after some seconds. */
  async createTopic(spec: TopicSpec): Promise<TopicDescription> {
    await this.options.local.createTopic(spec);
    return await this.#describeLed(spec.name);
  }

  async updateTopic(name: string, change: TopicChange): Promise<TopicDescription> {
    await this.options.local.updateTopic(name, change);
    return await this.#describeLed(name);
  }

  async #describeLed(name: string): Promise<TopicDescription> {
    await this.#gather.led(name, { timers: this.options.timers, forMs: LED_WITHIN_MS });
    return await this.#gather.describeTopic(name);
  }

  deleteTopic(name: string): Promise<void> {
    return this.#methods.deleteTopic(name);
  }

  topic(name: string): Topic | null {
    return this.options.local.topic(name);
  }

  describeTopic(name: string): Promise<TopicDescription> {
    return this.#gather.describeTopic(name);
  }

  topicNames(): readonly string[] {
    return this.#methods.topicNames();
  }

  onTopicsChanged(listener: () => void): () => void {
    return this.#methods.onTopicsChanged(listener);
  }

  partitionInfo: Broker["partitionInfo"] = (at) => this.#methods.partitionInfo(at);

  append: Broker["append"] = (at, batches, options) => this.#methods.append(at, batches, options);

  messageKeyCounts: Broker["messageKeyCounts"] = () => this.#methods.messageKeyCounts();

  fenceKeys: Broker["fenceKeys"] = (at, term) => this.#methods.fenceKeys(at, term);

  writeMarker: Broker["writeMarker"] = (at, marker) => this.#methods.writeMarker(at, marker);

  /** Whoever is of this broker's zone reads the replica that is here, as far as that knows what may be read (KIP-392). */
  fetch: Broker["fetch"] = async (at, offset, options) => {
    const { zone, ...asked } = options;
    const { view } = this.options;
    const isNear = zone !== undefined && zone === view.online().get(view.nodeId)?.zone;
    const near = isNear ? await this.#fromReplica(at, offset, asked) : null;
    return near ?? await this.#methods.fetch(at, offset, asked);
  };

  /** Null where no replica is here, or it has nothing there. */
  async #fromReplica(...[at, offset, options]: Parameters<Broker["fetch"]>) {
    try {
      const found = await this.options.local.fetch(at, offset, { ...options, fromReplica: true });
      return found.batches.length === 0 ? null : found;
    } catch {
      // The leader says what is the matter, or has what this replica has not.
      return null;
    }
  }

  /** Whoever waits is not bothered by leadership that moves meanwhile: the wait goes on where it went. */
  async waitForData(...[at, offset, options]: Parameters<Broker["waitForData"]>): Promise<void> {
    const { clock } = this.options;
    const endsAtMs = clock.monotonic() + options.timeoutMs;
    try {
      await this.#methods.waitForData(at, offset, options);
    } catch (error) {
      if (options.signal?.aborted !== true && clock.monotonic() < endsAtMs) throw error;
    }
  }

  offsetForTime: Broker["offsetForTime"] = (at, timestampMs) =>
    this.#methods.offsetForTime(at, timestampMs);

  group<C extends GroupCommand>(command: C): Promise<GroupReply<C>> {
    return this.#groups.execute(command);
  }

  groups(options = { whole: false }): Promise<readonly GroupSummary[]> {
    return this.#gather.groups(options);
  }

  onGroupNotification(
    at: { group: string; memberId: string },
    listener: (notification: GroupNotification) => void,
  ): () => void {
    return this.#groups.onNotification(at, listener);
  }

  revive(at: TopicPartition | null): Promise<readonly Revival[]> {
    return this.#gather.revive(at);
  }

  health(): { ready: boolean; problems: readonly string[] } {
    return this.#methods.health();
  }

  /** Asks nobody any more; `local` is closed by whoever opened it, afterwards. */
  close(): void {
    this.#refusals.close();
    this.#outcomes.close();
    this.#groups.close();
    this.#alerts.close();
    this.router.close();
  }
}
