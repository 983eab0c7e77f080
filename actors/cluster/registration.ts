// Owns a broker's own registration: its lease, its incarnation, and whether both still hold.
// Refuses to own what is known of others (view.ts).
// Invariant: an incarnation is one registration and never comes back; the lease counts from before its renewal was sent, so
// that it ends here before it ends in the store. One that another process has taken over is never taken back.
import type { MetadataEntry, MetadataStore } from "../../storage/metadata.ts";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import { loseReplicas } from "./lose_replicas.ts";
import {
  type BrokerMember,
  type BrokerRegistration,
  FORGOTTEN_KEY,
  LEAVING_KEY,
  MEMBERS_KEY,
  ONLINE_KEY,
  type PartitionRecord,
} from "./types.ts";

export const DEFAULT_LEASE_MS = 4_000;
/** Renewals in the time of a lease. */
const RENEWALS_A_LEASE = 4;
/** Renewals without an answer yet; more are not sent. */
const MAX_RENEWALS_AT_ONCE = 3;
/** Times a registration is tried again because others changed the same entries. */
const MAX_ATTEMPTS = 20;
/** Registrations with unknown outcome that are remembered. */
const MAX_UNKNOWN_LEASES = 64;
/** Between two looks at a registration that another broker holds. */
const LOOK_AGAIN_MS = 250;

/** What a broker says of itself. */
export type BrokerIdentity = Omit<BrokerRegistration, "nodeId" | "incarnation" | "leaseId">;

/** Another process is registered with this node id. */
export class NodeIdTakenError extends Error {
  override name = "NodeIdTakenError";
}

export interface RegistrationOptions {
  readonly nodeId: string;
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly leaseMs: number;
  /** Reads all that is decided. Rejects as the store does. */
  readonly refresh: () => Promise<void>;
  /** The lease has begun, ended or been lost, or the incarnation is another one. */
  readonly onChanged: () => void;
  /** Partitions that no broker has whole any more, because this one's disk is another one. */
  readonly onDataLost: (records: readonly PartitionRecord[]) => void;
}

export class Registration {
  #identity: BrokerIdentity | null = null;
  #incarnation = 0;
  #leaseId: string | null = null;
  #leaseEndsMs = -Infinity;
  /** Of registrations of which the store did not say whether they are kept. */
  readonly #unknownLeases = new Set<string>();
  #renewals = 0;
  #isRegistering = false;
  #isSuperseded = false;
  #isClosed = false;
  #cancelRenewal: Cancel = () => {};
  #cancelEnd: Cancel = () => {};

  constructor(private readonly options: RegistrationOptions) {}

  /** 0 before the first registration. */
  get incarnation(): number {
    return this.#incarnation;
  }

  get hasLease(): boolean {
    return this.#leaseId !== null && this.options.clock.monotonic() < this.#leaseEndsMs;
  }

  /** Null while there is none that is known to hold. */
  get leaseId(): string | null {
    return this.hasLease ? this.#leaseId : null;
  }

  get isSuperseded(): boolean {
    return this.#isSuperseded;
  }

  /**
   * Registers, and keeps the registration from then on. One with the same disk is taken over at once: the broker has
   * started again. Rejects with NodeIdTakenError when a broker with another disk holds the node id and renews it for
   * longer than a lease lasts; else as the store does.
   */
  async register(identity: BrokerIdentity): Promise<void> {
    if (this.#identity !== null) throw new Error("a broker registers once");
    const { clock, leaseMs } = this.options;
    const givenUpAtMs = clock.monotonic() + leaseMs * 1.5;
    while (!await this.#tryRegister(identity)) {
      if (clock.monotonic() >= givenUpAtMs) {
        throw new NodeIdTakenError(
          `another broker is running with the node id ${this.options.nodeId} and another data directory; ` +
            "give each broker a node id of its own",
        );
      }
      await this.#pause(LOOK_AGAIN_MS);
    }
    this.#identity = identity;
    this.#armRenewal();
  }

  /** What the store holds under this node's key now: null when nothing. */
  observe(registered: BrokerRegistration | null): void {
    if (this.#identity === null || this.#isClosed || this.#isSuperseded) return;
    if (this.#isRegistering) return;
    if (registered !== null && this.#isOfAnother(registered)) {
      this.#isSuperseded = true;
      this.#end();
    } else if (registered === null && this.#leaseId !== null) void this.#renew();
  }

  /** Gives the lease back: the broker is gone for the others at once. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const leaseId = this.#leaseId;
    this.#end();
    if (leaseId !== null) await this.options.metadata.revokeLease(leaseId).catch(() => {});
  }

  /** False when another broker holds the node id now. */
  async #tryRegister(identity: BrokerIdentity): Promise<boolean> {
    const { metadata, nodeId, leaseMs, clock } = this.options;
    const memberKey = [...MEMBERS_KEY, nodeId];
    const onlineKey = [...ONLINE_KEY, nodeId];
    for (let attempt = 0; attempt < MAX_ATTEMPTS && !this.#isClosed; attempt++) {
      const kept = await metadata.get(memberKey);
      const online = await metadata.get(onlineKey);
      const member = kept?.value as BrokerMember | undefined;
      const other = online?.value as BrokerRegistration | undefined;
      if (other !== undefined && other.diskId !== identity.diskId) return false;
      if (this.#isOvertaken(member)) return true;
      if (member?.diskId !== identity.diskId) {
        const lost = await loseReplicas(metadata, nodeId);
        if (lost.length > 0) this.options.onDataLost(lost);
      }
      const incarnation = (member?.incarnation ?? await this.#forgottenIncarnation()) + 1;
      const sentMs = clock.monotonic();
      const leaseId = await metadata.grantLease(leaseMs);
      const registered = { ...identity, nodeId, incarnation, leaseId };
      const isKept = await this.#keep(registered, { kept, online }).catch((error) => {
        // Whether or not it is kept: a registration that is not known here must not be seen by others for long.
        void metadata.revokeLease(leaseId).catch(() => {});
        throw error;
      });
      if (isKept) {
        this.#begin(incarnation, leaseId, sentMs);
        return true;
      }
      this.#unknownLeases.delete(leaseId);
      await metadata.revokeLease(leaseId).catch(() => {});
    }
    throw new Error(`the registration of broker ${nodeId} lost against other changes of it`);
  }

  /** False when others have changed the entries since these were read. */
  async #keep(
    registered: BrokerRegistration & { readonly leaseId: string },
    { kept, online }: { kept: MetadataEntry | null; online: MetadataEntry | null },
  ): Promise<boolean> {
    const { metadata, nodeId, refresh } = this.options;
    const memberKey = [...MEMBERS_KEY, nodeId];
    const onlineKey = [...ONLINE_KEY, nodeId];
    const { incarnation, diskId, zone, leaseId } = registered;
    const draining = (kept?.value as BrokerMember | undefined)?.draining ?? false;
    const member: BrokerMember = { nodeId, incarnation, diskId, zone, draining, leaseId };
    this.#noteUnknown(leaseId);
    const isKept = await metadata.commit({
      checks: [
        { key: memberKey, version: kept?.version ?? null },
        { key: onlineKey, version: online?.version ?? null },
      ],
      sets: [{ key: memberKey, value: member }, { key: onlineKey, value: registered, leaseId }],
      deletes: [[...LEAVING_KEY, nodeId]],
    });
    // Others may have been decided to lead while there was no lease: one begins with knowing that.
    if (isKept) await refresh();
    return isKept;
  }

  /** Of a member that was forgotten: its incarnations do not come back either. */
  async #forgottenIncarnation(): Promise<number> {
    const { metadata, nodeId } = this.options;
    return ((await metadata.get([...FORGOTTEN_KEY, nodeId]))?.value as number | undefined) ?? 0;
  }

  /** Whether another process has registered since this one did: it is the broker now, and this one is not. */
  #isOvertaken(member: BrokerMember | undefined): boolean {
    if (this.#identity === null || member === undefined || !this.#isOfAnother(member)) return false;
    this.#isSuperseded = true;
    this.#end();
    return true;
  }

  #isOfAnother({ incarnation, leaseId }: BrokerRegistration | BrokerMember): boolean {
    return incarnation > this.#incarnation && !this.#unknownLeases.has(leaseId ?? "");
  }

  #noteUnknown(leaseId: string): void {
    if (this.#unknownLeases.size >= MAX_UNKNOWN_LEASES) {
      this.#unknownLeases.delete(this.#unknownLeases.values().next().value!);
    }
    this.#unknownLeases.add(leaseId);
  }

  #begin(incarnation: number, leaseId: string, sentMs: number): void {
    if (this.#isClosed) {
      void this.options.metadata.revokeLease(leaseId).catch(() => {});
      return;
    }
    this.#incarnation = incarnation;
    this.#leaseId = leaseId;
    this.#unknownLeases.clear();
    this.#extend(sentMs);
    this.options.onChanged();
  }

  #extend(sentMs: number): void {
    const { clock, timers, leaseMs } = this.options;
    const hadLease = this.hasLease;
    this.#leaseEndsMs = Math.max(this.#leaseEndsMs, sentMs + leaseMs);
    this.#cancelEnd();
    const leftMs = this.#leaseEndsMs - clock.monotonic();
    this.#cancelEnd = timers.after(leftMs, () => this.options.onChanged());
    if (!hadLease) this.options.onChanged();
  }

  #end(): void {
    this.#cancelRenewal();
    this.#cancelEnd();
    this.#leaseId = null;
    this.#leaseEndsMs = -Infinity;
    this.options.onChanged();
  }

  /** Renewals go out by the clock, whether or not the one before was answered: an answer may never come. */
  #armRenewal(): void {
    this.#cancelRenewal();
    if (this.#isClosed || this.#isSuperseded) return;
    this.#cancelRenewal = this.options.timers.after(this.options.leaseMs / RENEWALS_A_LEASE, () => {
      void this.#renew();
      this.#armRenewal();
    });
  }

  async #renew(): Promise<void> {
    if (this.#renewals >= MAX_RENEWALS_AT_ONCE || this.#isRegistering) return;
    this.#renewals++;
    try {
      const leaseId = this.#leaseId;
      const sentMs = this.options.clock.monotonic();
      const holds = leaseId !== null && await this.options.metadata.renewLease(leaseId);
      if (this.#isClosed || this.#isSuperseded || leaseId !== this.#leaseId) return;
      if (holds && await this.#isOwn()) this.#extend(sentMs);
      else await this.#registerAnew();
    } catch {
      // The store cannot be reached: the lease goes on by the clock until it ends, and the next renewal comes by itself.
    } finally {
      this.#renewals--;
    }
  }

  /** A lease may hold whose registration was removed or taken over. */
  async #isOwn(): Promise<boolean> {
    const { metadata, nodeId } = this.options;
    const entry = await metadata.get([...ONLINE_KEY, nodeId]);
    return (entry?.value as BrokerRegistration | undefined)?.incarnation === this.#incarnation;
  }

  async #registerAnew(): Promise<void> {
    if (this.#isRegistering) return;
    this.#isRegistering = true;
    try {
      this.#leaseId = null;
      this.#leaseEndsMs = -Infinity;
      this.options.onChanged();
      if (!await this.#tryRegister(this.#identity!)) {
        this.#isSuperseded = true;
        this.#end();
      }
    } finally {
      this.#isRegistering = false;
    }
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.options.timers.after(delayMs, resolve));
  }
}
