// Owns which partitions a consumer holds, and what assignments, revocations and reconnects do to them.
// Refuses to own sockets, commits on their way, and waiting.
// Invariant: what was received is handed out or dropped together with its partition, never lost while it is held.
import {
  type AssignedFrame,
  type AssignedPartition,
  type MessagesFrame,
  partitionKey,
  type TopicPartition,
} from "./frames.ts";
import { type HandOut, type Meter, PartitionState } from "./partition_state.ts";

/** What an `assigned` frame changed. */
export interface Assigned {
  readonly added: readonly PartitionState[];
  readonly lost: readonly PartitionState[];
  /** Asked back and given up by us, but the broker went on as if not: only a new connection makes both agree. */
  readonly mustReconnect: boolean;
}

export class Assignment {
  readonly #meter: Meter = { bytes: 0 };
  readonly #states = new Map<string, PartitionState>();
  /** Partitions that may have something to hand out, the one whose turn is next first. */
  readonly #turns = new Set<PartitionState>();
  /** What was released in this connection: handed out up to, received up to. */
  readonly #released = new Map<string, { handed: number; received: number }>();
  /** The next `assigned` is the first of a connection that goes on for the member. */
  #isResuming = false;

  get states(): readonly PartitionState[] {
    return [...this.#states.values()];
  }

  get size(): number {
    return this.#states.size;
  }

  state(at: TopicPartition): PartitionState | undefined {
    return this.#states.get(partitionKey(at));
  }

  /** Bytes that wait to be given. */
  get waitingBytes(): number {
    return this.#meter.bytes;
  }

  /** Of those, bytes of partitions that the application has not paused. */
  get flowingBytes(): number {
    let bytes = this.#meter.bytes;
    for (const state of this.#states.values()) {
      if (state.paused) bytes -= state.waitingBytes;
    }
    return bytes;
  }

  /** Given and not settled, in all. */
  get openCount(): number {
    let count = 0;
    for (const state of this.#states.values()) count += state.open.size;
    return count;
  }

  /** A connection has begun; returns what is lost because the broker does not know this member any more. */
  welcomed(resumed: boolean): PartitionState[] {
    this.#released.clear();
    this.#isResuming = resumed;
    if (resumed) return [];
    const lost = this.states;
    for (const state of lost) this.drop(state);
    return [...lost];
  }

  /** Takes a whole assignment over. Without a reconnect before, partitions are only taken away by `revoked`. */
  assigned(frame: AssignedFrame): Assigned {
    const added: PartitionState[] = [];
    let mustReconnect = false;
    for (const at of frame.partitions) {
      const state = this.state(at);
      if (state !== undefined) this.#goOn(state, at);
      else if (this.#isTorn(at)) mustReconnect = true;
      else added.push(this.#add(at));
    }
    const lost = this.#isResuming ? this.#missing(frame) : [];
    for (const state of lost) this.drop(state);
    this.#isResuming = false;
    return { added, lost, mustReconnect };
  }

  /** Stops what the group wants back; returns what of it is held. */
  revoked(partitions: readonly TopicPartition[]): PartitionState[] {
    const stopped: PartitionState[] = [];
    for (const at of partitions) {
      const state = this.state(at);
      if (state === undefined || state.revoking) continue;
      state.revoking = true;
      stopped.push(state);
    }
    return stopped;
  }

  /** Gives a partition up for good; what waits in it is dropped. */
  release(state: PartitionState): void {
    const { handed, received } = state;
    this.#released.set(state.key, { handed, received });
    this.drop(state);
  }

  drop(state: PartitionState): void {
    state.gone = true;
    state.dropWaiting();
    if (this.#states.get(state.key) === state) this.#states.delete(state.key);
    this.#turns.delete(state);
  }

  receive(frame: MessagesFrame): void {
    const state = this.state(frame);
    if (state?.receive(frame)) this.#turns.add(state);
  }

  /** Puts back what of a hand-out was not given. */
  putBack(handOut: HandOut, given: number): void {
    handOut.state.putBack(handOut, given);
    if (handOut.state.hasWaiting) this.#turns.add(handOut.state);
  }

  /** The partition whose turn it is; null when nothing can be handed out. Those in pause keep their turn. */
  nextTurn(): PartitionState | null {
    for (const state of this.#turns) {
      if (state.hasWaiting && state.isOpen) {
        this.#turns.delete(state);
        this.#turns.add(state);
        return state;
      }
      if (!state.hasWaiting) this.#turns.delete(state);
    }
    return null;
  }

  #add(at: AssignedPartition): PartitionState {
    const state = new PartitionState(at, this.#meter);
    this.#states.set(state.key, state);
    this.#released.delete(state.key);
    return state;
  }

  #goOn(state: PartitionState, at: AssignedPartition): void {
    state.revoking = false;
    if (state.hasWaiting) this.#turns.add(state);
    const { offset } = at;
    if (this.#isResuming) {
      const isTurnedBack = offset < state.committed;
      // What others have committed past is done: handing it out now would only repeat it.
      const isOvertaken = offset > state.received;
      if (at.reset === undefined && !isTurnedBack && !isOvertaken) return state.reconnected(offset);
      state.restart(offset);
    } else if (at.reset !== undefined || offset < state.delivered) {
      // The broker tells where it goes on; below what it sent already, the group's offsets were turned back.
      state.restart(offset);
    } else {
      state.received = Math.max(state.received, offset);
    }
  }

  /** The broker goes on behind messages that were received, never handed out, and dropped when it asked them back. */
  #isTorn(at: AssignedPartition): boolean {
    const released = this.#released.get(partitionKey(at));
    return released !== undefined && at.offset > released.handed && at.offset <= released.received;
  }

  #missing(frame: AssignedFrame): PartitionState[] {
    const kept = new Set(frame.partitions.map(partitionKey));
    return this.states.filter((state) => !kept.has(state.key));
  }
}
