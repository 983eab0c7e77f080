// Owns the vocabulary of quotas: how much a tenant may ask for, and the port through which the edges use them.
// Refuses to own what a tenant has used (api/quota/) and quotas of single topics (they are a topic's configuration).
// Invariant: null is no limit; a tenant has its own quota as a whole or the default one, never a mixture.

/** Stands for every tenant that has no quota of its own. */
export const DEFAULT_QUOTA = "*";

/** How much a tenant may ask of one broker; null: without limit. Rates have a burst of one second. */
export interface QuotaLimits {
  /** Bytes of the bodies of its publishes. */
  readonly publishBytesPerSecond: number | null;
  readonly publishMessagesPerSecond: number | null;
  /** Bytes of what is delivered to it. */
  readonly consumeBytesPerSecond: number | null;
  readonly requestsPerSecond: number | null;
  /** Consumers at once: WebSocket streams and members that poll. */
  readonly connections: number | null;
  /** Topics that its principals have made. */
  readonly topics: number | null;
  /** Bodies of its requests in memory at once, from their arrival to their answer. */
  readonly inFlightBytes: number | null;
}

export type QuotaName = keyof QuotaLimits;

export const NO_LIMITS: QuotaLimits = Object.freeze({
  publishBytesPerSecond: null,
  publishMessagesPerSecond: null,
  consumeBytesPerSecond: null,
  requestsPerSecond: null,
  connections: null,
  topics: null,
  inFlightBytes: null,
});

export const QUOTA_NAMES = Object.freeze(Object.keys(NO_LIMITS) as QuotaName[]);

/** What is kept of a quota. Times in ms since the epoch. */
export interface Quota extends QuotaLimits {
  /** Name of a tenant, or `DEFAULT_QUOTA`. */
  readonly tenant: string;
  readonly updatedAt: number;
  /** Principal that set it. */
  readonly updatedBy: string;
}

export interface NewQuota {
  readonly tenant: string;
  readonly limits: QuotaLimits;
  readonly updatedBy: string;
}

/** The quotas of a cluster. Rejections are BrokerErrors: those named here, METADATA_CONFLICT, OVERLOADED, SHUTTING_DOWN. */
export interface Quotas {
  /** Sets the whole quota of a tenant; resolves when it is durable. LIMIT_REACHED beyond the bound of quotas. */
  put(quota: NewQuota): Promise<Quota>;
  /** The tenant has the default quota from then on, if there is one. NOT_FOUND. */
  delete(tenant: string): Promise<void>;
  /** The tenant's own, from memory, without IO; null when there is none. */
  find(tenant: string): Quota | null;
  /** What holds for the tenant: its own quota, else the default one, else no limit. From memory. */
  limitsOf(tenant: string): QuotaLimits;
  /** By tenant. */
  list(): readonly Quota[];
  /** Calls back after each change. */
  onChanged(listener: () => void): () => void;
}
