// Owns all consuming connections of one broker: how many there may be, their common beat, replacing, draining.
// Refuses to own what happens within one (connection.ts) and upgrades (socket.ts).
// Invariant: one timer for all of them, and none when there are none; at most `maxSessions`, counted until the socket is gone.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Cancel } from "../../storage/ports.ts";
import type { Access } from "../auth/access.ts";
import { Rechecks } from "../auth/rechecks.ts";
import { Connection } from "./connection.ts";
import type { StreamRequest, StreamServices } from "./connection_parts.ts";
import { DataWaiters } from "./data_waiters.ts";
import { BufferBudget, type FrameSocket } from "./outbox.ts";
import { CommittedOffsets } from "./start_offsets.ts";

export type StreamHubOptions = Omit<StreamServices, "waiters" | "committedOffsets" | "budget">;

export class StreamHub {
  readonly services: StreamServices;
  readonly #connections = new Set<Connection>();
  /** By group and member, those that have joined. */
  readonly #members = new Map<string, Connection>();
  #cancelSweep: Cancel | null = null;
  #draining = false;
  readonly #rechecks: Rechecks;

  constructor(options: StreamHubOptions) {
    const { broker, timers, limits, authorizer } = options;
    const { dataWaitMs, retryMs } = limits;
    this.services = {
      ...options,
      waiters: new DataWaiters({ broker, timers, dataWaitMs, retryMs }),
      committedOffsets: new CommittedOffsets(broker),
      budget: new BufferBudget(),
    };
    broker.accessKeys.onDeleted(() => this.#recheck());
    this.#rechecks = new Rechecks({ ...options, run: () => this.#recheck() });
    authorizer.onChanged(() => this.#rechecks.changed());
  }

  /** Sockets that are open or closing. */
  get size(): number {
    return this.#connections.size;
  }

  /** Bytes that wait in all sockets together. */
  get bufferedBytes(): number {
    return this.services.budget.totalBytes;
  }

  /** Throws OVERLOADED or SHUTTING_DOWN when no connection more of a caller can be taken in. */
  refuseWhenFull({ tenant, isAdministrator }: Access): void {
    if (this.#draining) throw new BrokerError("SHUTTING_DOWN", "the broker is shutting down");
    const { maxSessions, maxTenantShare } = this.services.limits;
    if (this.#connections.size >= maxSessions) {
      throw new BrokerError("OVERLOADED", `${maxSessions} consuming connections are open already`);
    }
    const maxOwn = maxSessions * maxTenantShare;
    if (isAdministrator || this.#connections.size < maxOwn) return;
    const own = this.#connections.values()
      .reduce((count, connection) => connection.tenant === tenant ? count + 1 : count, 0);
    if (own < maxOwn) return;
    throw new BrokerError(
      "OVERLOADED",
      `tenant ${tenant} has ${own} consuming connections already`,
    );
  }

  /** Takes a connection in, whose socket is about to open; `opened` and `gone` tell what becomes of it. */
  accept(
    request: StreamRequest,
    socket: FrameSocket,
  ): { readonly connection: Connection; readonly gone: () => Promise<void> } {
    this.refuseWhenFull(request.access);
    const { group } = request;
    const connection: Connection = new Connection({
      services: this.services,
      request,
      socket,
      onJoined: (memberId) => this.#joined(`${group}\n${memberId}`, connection),
    });
    this.#connections.add(connection);
    this.#cancelSweep ??= this.#sweepLater();
    return { connection, gone: () => this.#gone(connection) };
  }

  /** Refuses new connections and closes those that are there (1012), after what they committed. Never rejects. */
  async drain(): Promise<void> {
    this.#draining = true;
    this.#rechecks.stop();
    await Promise.all([...this.#connections].map((connection) => connection.drain()));
    this.#cancelSweep?.();
    this.#cancelSweep = null;
  }

  #recheck(): void {
    for (const connection of this.#connections) connection.recheck();
  }

  #joined(member: string, connection: Connection): void {
    const before = this.#members.get(member);
    this.#members.set(member, connection);
    if (before !== undefined && before !== connection) before.replace();
  }

  async #gone(connection: Connection): Promise<void> {
    if (!this.#connections.delete(connection)) return;
    const member = `${connection.group}\n${connection.memberId}`;
    if (this.#members.get(member) === connection) this.#members.delete(member);
    await connection.closed();
  }

  #sweepLater(): Cancel {
    const { timers, limits } = this.services;
    return timers.after(limits.sweepMs, () => this.#sweep());
  }

  #sweep(): void {
    this.#cancelSweep = null;
    const now = this.services.clock.monotonic();
    for (const connection of this.#connections) {
      if (connection.neverOpened(now)) void this.#gone(connection);
      else connection.sweep(now);
    }
    if (this.#connections.size > 0) this.#cancelSweep = this.#sweepLater();
  }
}
