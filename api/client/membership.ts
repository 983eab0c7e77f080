// Owns being a member of a group: what the broker's frames do to partitions, commits, nacks and revocations.
// Refuses to own the socket (stream_link.ts) and giving messages to the application (message_source.ts).
// Invariant: a partition is given up only after what the application got of it is settled, or when it is gone anyway.
import { Assignment } from "./assignment.ts";
import { AutoCommit } from "./auto_commit.ts";
import type { Brokers } from "./brokers.ts";
import { CommitQueue, notAssigned } from "./commit_queue.ts";
import { type ResolvedConsumerOptions, streamQuery } from "./consumer_options.ts";
import { WaybillError } from "./errors.ts";
import {
  type AssignedFrame,
  placeOf,
  type ServerFrame,
  type TopicPartition,
  type WelcomeFrame,
} from "./frames.ts";
import { Nacks } from "./nacks.ts";
import type { PartitionState } from "./partition_state.ts";
import type { ClientPorts, WebSocketClass } from "./ports.ts";
import { Revocations } from "./revocations.ts";
import { StreamLink } from "./stream_link.ts";
import type { Credential, Transport } from "./transport.ts";

/** What a consumer needs of its surroundings. */
export interface ConsumerEnv {
  readonly brokers: Brokers;
  readonly token: Credential | undefined;
  readonly WebSocket: WebSocketClass;
  readonly transport: Transport;
  readonly ports: ClientPorts;
}

export interface MembershipEvents {
  /** There may be something to give, or to end. */
  readonly onNews: () => void;
  /** Partitions are gone. */
  readonly onGone: () => void;
  readonly onFatal: (error: WaybillError) => void;
}

export class Membership {
  readonly assignment = new Assignment();
  readonly commits: CommitQueue;
  readonly autoCommit: AutoCommit | null;
  readonly nacks: Nacks;
  readonly link: StreamLink;
  readonly #options: ResolvedConsumerOptions;
  readonly #events: MembershipEvents;
  readonly #revocations: Revocations;
  /** The connection of now has told what is assigned: before that the broker takes no word about partitions. */
  #isAssigned = false;
  #isFlowPaused = false;
  #isLaggingTold = false;

  constructor(env: ConsumerEnv, options: ResolvedConsumerOptions, events: MembershipEvents) {
    this.#options = options;
    this.#events = events;
    const onError = (error: WaybillError) => this.report(error);
    this.link = this.#makeLink(env);
    this.commits = new CommitQueue({
      ports: env.ports,
      timeoutMs: options.commitTimeoutMs,
      backoff: options.backoff,
      send: (frame) => this.#isAssigned && this.link.send(frame),
      onCommitted: (state, offset, settles) => {
        for (const passed of state.takePassedOver(offset)) this.nacks.forgotten(state, passed);
        state.settleBelow(offset);
        state.settle(settles);
        this.settled();
      },
      onTaken: (state) => {
        this.assignment.drop(state);
        this.#lost([state]);
      },
    });
    this.nacks = new Nacks({
      send: (frame) => this.#isAssigned && this.link.send(frame),
      onError,
    });
    this.autoCommit = !options.autoCommit ? null : new AutoCommit({
      timers: env.ports.timers,
      intervalMs: options.autoCommitIntervalMs,
      eagerCount: Math.ceil(options.maxInFlight / EAGER_COMMITS_PER_WINDOW),
      commit: (item) => this.commits.commit(item),
      onError,
    });
    this.#revocations = new Revocations({
      onRevoked: options.onRevoked,
      onError,
      release: (states) => this.#release(states),
    });
  }

  /** Commits can be sent. */
  get isAssigned(): boolean {
    return this.#isAssigned;
  }

  /** Commits an offset; `message` is the one that is meant, where it is one. */
  commit(
    state: PartitionState,
    offset: number,
    message?: { readonly offset: number; readonly isRedelivery: boolean },
  ): Promise<void> {
    if (state.gone) return Promise.reject(notAssigned(state));
    const open = message && state.redelivered.get(message.offset);
    const again = open ?? (message?.isRedelivery ? null : undefined);
    if (!again && offset <= state.committed) return Promise.resolve();
    return this.commits.commit({ state, offset, again });
  }

  /** Something was settled: a partition may be ready to go. */
  settled(): void {
    if (this.assignment.openCount < this.#options.maxInFlight) this.#isLaggingTold = false;
    if (this.#revocations.active) this.#revocations.check();
  }

  setPaused(partitions: readonly TopicPartition[], paused: boolean): void {
    const changed: TopicPartition[] = [];
    for (const at of partitions) {
      const state = this.assignment.state(at);
      if (state === undefined || state.paused === paused) continue;
      state.paused = paused;
      changed.push(placeOf(at));
    }
    if (changed.length > 0 && !this.#isFlowPaused) {
      this.link.send({ type: paused ? "pause" : "resume", partitions: changed });
    }
    this.checkFlow();
    if (!paused) this.#events.onNews();
  }

  /** A socket has no brake of its own: the broker is asked to wait while too much waits here. */
  checkFlow(): void {
    const { maxBufferedBytes } = this.#options;
    if (!this.#isFlowPaused && this.assignment.waitingBytes <= maxBufferedBytes) return;
    const bound = this.#isFlowPaused ? maxBufferedBytes / 2 : maxBufferedBytes;
    const shouldPause = this.assignment.flowingBytes > bound;
    if (shouldPause === this.#isFlowPaused) return;
    this.#isFlowPaused = shouldPause;
    const partitions = this.assignment.states.filter((state) => !state.paused).map(placeOf);
    if (partitions.length === 0) return;
    this.link.send({ type: shouldPause ? "pause" : "resume", partitions });
  }

  /** The application waits for more: tells it when that cannot come before it settles what it has. */
  tellLagging(): void {
    const { maxInFlight, onLagging } = this.#options;
    if (this.#isLaggingTold || onLagging === undefined) return;
    const unsettled = this.assignment.openCount;
    if (unsettled < maxInFlight) return;
    this.#isLaggingTold = true;
    this.#tell(() => onLagging({ unsettled, maxInFlight }));
  }

  /** What was received of a partition is damaged: it is asked for again. */
  receiveAgain(state: PartitionState, error: WaybillError): void {
    state.receiveAgain();
    this.report(error);
    this.link.reconnect(error);
  }

  report(error: WaybillError): void {
    this.#tell(() => this.#options.onError?.(error));
  }

  /** Lets go of everything; `error` is what commits on their way fail with. */
  end(error: WaybillError): void {
    this.autoCommit?.stop();
    this.commits.close(error);
    for (const state of this.assignment.states) this.assignment.drop(state);
  }

  #welcomed(welcome: WelcomeFrame, resumed: boolean): void {
    this.#lost(this.assignment.welcomed(resumed));
    const { memberId, generation } = welcome;
    this.#tell(() => this.#options.onConnected?.({ memberId, generation, resumed }));
  }

  #receive(frame: ServerFrame): void {
    switch (frame.type) {
      case "messages":
        this.assignment.receive(frame);
        this.nacks.flush();
        this.commits.flush();
        this.checkFlow();
        return this.#events.onNews();
      case "assigned":
        return this.#assigned(frame);
      case "revoked":
        return this.#revoke(frame.partitions);
      case "nacked":
        return this.nacks.confirmed(frame.id);
      case "committed":
        return this.commits.confirmed(frame.id);
      case "error": {
        if (this.commits.refused(frame) || this.nacks.refused(frame)) return;
        const { code, detail, retryable } = frame;
        return this.report(new WaybillError(code, detail, { retryable, details: frame }));
      }
      case "paused":
        return this.#tell(() => this.#options.onPaused?.(frame.reason));
      case "resumed":
        return this.#tell(() => this.#options.onResumed?.());
      case "withdrawn": {
        const { version, reason } = frame;
        return this.#tell(() => this.#options.onWithdrawn?.({ version, reason }));
      }
    }
  }

  #assigned(frame: AssignedFrame): void {
    this.#isAssigned = true;
    const { added, lost, mustReconnect } = this.assignment.assigned(frame);
    this.#lost(lost);
    this.#revocations.keep(this.assignment.states);
    const paused = this.assignment.states.filter((state) => state.paused || this.#isFlowPaused);
    if (paused.length > 0) this.link.send({ type: "pause", partitions: paused.map(placeOf) });
    if (added.length > 0) {
      const partitions = added.map((state) => ({ ...state.toJSON(), offset: state.received }));
      this.#tell(() => this.#options.onAssigned?.(partitions));
    }
    if (mustReconnect) {
      const detail = "a partition was given back while it was being released";
      this.link.reconnect(new WaybillError("BAD_RESPONSE", detail, { retryable: true }));
    }
    this.nacks.flush();
    this.commits.flush();
    this.#events.onNews();
  }

  #revoke(partitions: readonly TopicPartition[]): void {
    const stopped = this.assignment.revoked(partitions);
    this.autoCommit?.commitNow();
    this.#revocations.begin(stopped);
  }

  #release(states: readonly PartitionState[]): void {
    this.link.send({ type: "revoked", partitions: states.map(placeOf) });
    for (const state of states) this.assignment.release(state);
    this.#dropGone();
  }

  /** Partitions are gone without having been given up. */
  #lost(states: readonly PartitionState[]): void {
    if (states.length === 0) return;
    this.#dropGone();
    this.#revocations.lost(states);
  }

  #dropGone(): void {
    this.commits.dropGone();
    this.nacks.dropGone();
    this.autoCommit?.dropGone();
    this.checkFlow();
    this.#events.onGone();
  }

  /** A listener's fault is not the consumer's: it is thrown where the runtime reports uncaught errors. */
  #tell(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #makeLink(env: ConsumerEnv): StreamLink {
    const { group, backoff, connectTimeoutMs, closeTimeoutMs } = this.#options;
    const query = streamQuery(this.#options);
    return new StreamLink({ ...env, group, query, backoff, connectTimeoutMs, closeTimeoutMs }, {
      onWelcome: (welcome, resumed) => {
        env.transport.explore?.(this.#options.topics[0]!);
        this.#welcomed(welcome, resumed);
      },
      onFrame: (frame) => this.#receive(frame),
      onDown: (error) => {
        this.#isAssigned = false;
        this.commits.disconnected();
        this.report(error);
      },
      onFatal: (error) => {
        this.end(error);
        this.#events.onFatal(error);
      },
    });
  }
}

/** With `autoCommit`, a window's worth of messages is committed in this many steps at least. */
const EAGER_COMMITS_PER_WINDOW = 4;
