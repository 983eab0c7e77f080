// Owns messages that were handed in and have no place yet: their topic is not known, or there is no room.
// Refuses to own what happens to them afterwards.
// Invariant: first come, first served within a topic; no message overtakes one that waits for the same topic.
import type { BufferPool } from "./buffer_pool.ts";
import type { Owner } from "./delivery.ts";
import { WaybillError } from "./errors.ts";
import { Fifo } from "./fifo.ts";
import { heldSize, type Outgoing } from "./outgoing.ts";
import type { Placed, Placer } from "./placer.ts";
import type { ClientPorts } from "./ports.ts";
import type { ProducerTopic } from "./topic_cache.ts";

/** Who hears of messages one by one while they are placed. */
export interface AdmissionOwner extends Owner {
  placed?(partition: number): void;
  refused(topic: string, error: WaybillError, message: Outgoing): void;
}

/** Messages handed in with one call; none at all marks a point in the line. */
export interface Admission {
  readonly messages: readonly Outgoing[];
  next: number;
  readonly owner: AdmissionOwner;
  /** Monotonic, ms. */
  readonly deadline: number;
  /** Memory reserved for what of it waits. */
  heldBytes: number;
  /** Stop at this many bytes in use, so that what is there is sent while the rest is encoded. */
  readonly softLimitBytes: number;
  /** Nothing of it waits any more. */
  readonly onDone?: () => void;
}

interface Line {
  readonly topic: ProducerTopic;
  readonly admissions: Fifo<Admission>;
  lastError: WaybillError | null;
}

export interface AdmissionOptions {
  readonly placer: Placer;
  readonly pool: BufferPool;
  readonly ports: ClientPorts;
  /** Ends the wait for company: memory is wanted. */
  readonly onPressure: () => void;
  /** The topic's metadata is wanted. */
  readonly onMetadataWanted: (topic: ProducerTopic) => void;
}

export class Admissions {
  /** In the order in which their turn comes. */
  readonly #lines = new Map<ProducerTopic, Line>();
  #waiting = 0;
  /** Largest buffer that a held message may need: kept free, or nothing could ever be placed. */
  #spareBytes = 0;
  #pumping = false;
  /** Somebody waits for memory: who comes now waits behind, or a large message would never get its turn. */
  #starved = false;
  readonly #options: AdmissionOptions;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Calls that wait. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Whether messages of `sizes` bytes may be held; reserves nothing. */
  canHold(sizes: readonly number[]): boolean {
    const { pool } = this.#options;
    const spareBytes = sizes.reduce(
      (largest, size) => Math.max(largest, pool.sizeFor(size)),
      this.#spareBytes,
    );
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    return pool.takenBytes + bytes + spareBytes <= pool.maxBytes;
  }

  isWaiting(topic: ProducerTopic): boolean {
    return this.#lines.has(topic);
  }

  topics(): ProducerTopic[] {
    return [...this.#lines.keys()];
  }

  /** Whether a message for the topic would have to wait, whatever its size. */
  mustWait(topic: ProducerTopic): boolean {
    return topic.metadata === null || this.#lines.has(topic);
  }

  /** Places one message if it can be done at once; throws what it is refused with, as Placer does. */
  placeNow(
    topic: ProducerTopic,
    message: Outgoing,
    owner: AdmissionOwner,
  ): "placed" | "no-room" | "must-wait" {
    if (this.mustWait(topic)) return "must-wait";
    const placed = this.#options.placer.place(topic, message, {
      owner,
      now: this.#options.ports.clock.now(),
    });
    if (placed === "no-metadata") return "must-wait";
    if (placed === "no-room") this.#options.onPressure();
    return typeof placed === "number" ? "placed" : "no-room";
  }

  /**
   * Places what it can. The rest waits in line, except that without `waitForRoom` it is left where the room ended:
   * "no-room", and `admission.next` tells how far it came.
   */
  admit(
    topic: ProducerTopic,
    admission: Admission,
    options: { waitForRoom: boolean },
  ): "done" | "waiting" | "no-room" {
    const mustQueue = this.#lines.has(topic) || (this.#starved && options.waitForRoom);
    if (!mustQueue) {
      const outcome = this.#run(topic, admission);
      if (outcome === "done") return "done";
      if (outcome === "no-room" && !options.waitForRoom) return "no-room";
    }
    this.wait(topic, admission);
    return "waiting";
  }

  /** Gives every topic in line a turn, as long as there is room. */
  pumpAll(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      for (const topic of this.topics()) {
        this.#starved = false;
        this.pump(topic);
        if (this.#starved) break;
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** Gives one topic a turn. */
  pump(topic: ProducerTopic): "done" | "no-room" | "no-metadata" {
    const line = this.#lines.get(topic);
    if (line === undefined) return "done";
    const before = progress(line);
    for (let head = line.admissions.peek(); head !== undefined; head = line.admissions.peek()) {
      const outcome = this.#run(topic, head);
      if (outcome === "no-metadata") this.#options.onMetadataWanted(topic);
      if (outcome !== "done") {
        if (progress(line) !== before) this.#toTheEnd(line);
        return outcome;
      }
      this.#leave(line, head);
    }
    return "done";
  }

  /** The topic cannot be looked up: for good, then all that waits for it fails; or for now. */
  metadataFailed(topic: ProducerTopic, error: WaybillError): void {
    const line = this.#lines.get(topic);
    if (line === undefined) return;
    line.lastError = error;
    if (!error.retryable) this.#refuseWhile(line, error, () => true);
  }

  /** Refuses what has waited too long. `now` is monotonic, ms. */
  expire(now: number): void {
    for (const line of [...this.#lines.values()]) {
      const cause = line.lastError;
      const why = cause === null ? "there was no room for them" : cause.detail;
      const error = new WaybillError(
        "DELIVERY_TIMEOUT",
        `messages for ${line.topic.name}: ${why}`,
        {
          retryable: true,
          details: cause === null ? {} : { lastCode: cause.code },
          cause: cause ?? undefined,
        },
      );
      this.#refuseWhile(line, error, (admission) => admission.deadline <= now);
    }
  }

  refuseAll(error: WaybillError): void {
    for (const line of [...this.#lines.values()]) this.#refuseWhile(line, error, () => true);
  }

  #refuseWhile(line: Line, error: WaybillError, isMeant: (admission: Admission) => boolean): void {
    for (let head = line.admissions.peek(); head !== undefined; head = line.admissions.peek()) {
      if (!isMeant(head)) return;
      for (; head.next < head.messages.length; head.next++) {
        head.owner.refused(line.topic.name, error, head.messages[head.next]!);
      }
      this.#leave(line, head);
    }
  }

  #run(topic: ProducerTopic, admission: Admission): "done" | "no-room" | "no-metadata" {
    const { messages, owner } = admission;
    const env = { owner, now: this.#options.ports.clock.now() };
    while (admission.next < messages.length) {
      const message = messages[admission.next]!;
      const placed = admission.heldBytes > 0
        ? this.#placeHeld(topic, message, admission, env)
        : this.#placeOne(topic, message, admission, env);
      if (placed === "no-room") this.#options.onPressure();
      if (typeof placed === "string") return placed;
      admission.next++;
    }
    return "done";
  }

  /** What is reserved for a message makes room for its place. */
  #placeHeld(
    topic: ProducerTopic,
    message: Outgoing,
    admission: Admission,
    env: { owner: AdmissionOwner; now: number },
  ): Placed {
    const { pool } = this.#options;
    const bytes = Math.min(admission.heldBytes, heldSize(message));
    pool.reserve(-bytes);
    const placed = this.#placeOne(topic, message, admission, env);
    if (typeof placed === "number") admission.heldBytes -= bytes;
    else pool.reserve(bytes);
    return placed;
  }

  #placeOne(
    topic: ProducerTopic,
    message: Outgoing,
    admission: Admission,
    env: { owner: AdmissionOwner; now: number },
  ): Placed {
    if (this.#options.pool.usedBytes > admission.softLimitBytes) return "no-room";
    try {
      const placed = this.#options.placer.place(topic, message, env);
      if (placed === "no-room") this.#starved = true;
      if (typeof placed === "number") env.owner.placed?.(placed);
      return placed;
    } catch (error) {
      if (!(error instanceof WaybillError)) throw error;
      env.owner.refused(topic.name, error, message);
      return 0;
    }
  }

  /** Puts messages at the end of their topic's line. */
  wait(topic: ProducerTopic, admission: Admission): void {
    const line = this.#lines.get(topic) ??
      { topic, admissions: new Fifo<Admission>(), lastError: null };
    this.#lines.set(topic, line);
    line.admissions.push(admission);
    this.#waiting++;
    if (admission.heldBytes > 0) {
      const { pool } = this.#options;
      pool.reserve(admission.heldBytes);
      for (const message of admission.messages) {
        this.#spareBytes = Math.max(this.#spareBytes, pool.sizeFor(heldSize(message)));
      }
    }
    if (topic.metadata === null) this.#options.onMetadataWanted(topic);
  }

  #leave(line: Line, admission: Admission): void {
    line.admissions.shift();
    this.#waiting--;
    this.#options.pool.reserve(-admission.heldBytes);
    admission.heldBytes = 0;
    if (this.#waiting === 0) this.#spareBytes = 0;
    if (line.admissions.length === 0) this.#lines.delete(line.topic);
    if (this.#waiting === 0) this.#starved = false;
    admission.onDone?.();
  }

  #toTheEnd(line: Line): void {
    this.#lines.delete(line.topic);
    this.#lines.set(line.topic, line);
  }
}

function progress(line: Line): number {
  return (line.admissions.peek()?.next ?? 0) - line.admissions.length;
}
