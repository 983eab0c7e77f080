// Owns leases as etcd has them. Their ids are etcd's: decimal numbers.
// Refuses to own time: etcd's leader counts it, on its own monotonic clock, and anew after it was elected.
// Invariant: false is said of a lease only when etcd says that it is gone.
import { EtcdRefusal } from "./etcd_errors.ts";
import type { EtcdRequests } from "./etcd_requests.ts";
import type { EtcdHeader, LeaseAnswer, Streamed } from "./etcd_wire.ts";

// A grant whose answer is lost leaves a lease that nobody knows: it ends by itself.
const GRANT = {
  action: "grant a lease",
  path: "/v3/lease/grant",
  isRepeatable: true,
  isUrgent: true,
};
// A leader renews by itself, also for a while after others were made leader in its place.
const RENEW = {
  action: "renew a lease",
  path: "/v3/lease/keepalive",
  isRepeatable: true,
  isUrgent: true,
  isOfLeaderAlone: true,
};
const REVOKE = {
  action: "revoke a lease",
  path: "/v3/lease/revoke",
  isRepeatable: true,
  isUrgent: true,
};

type RenewAnswer = Streamed<LeaseAnswer> & { readonly header?: EtcdHeader };

export class EtcdLeases {
  constructor(private readonly requests: EtcdRequests) {}

  /** Of `ttlMs`, rounded up to whole seconds. Rejects as EtcdRequests.ask. */
  async grant(ttlMs: number): Promise<string> {
    if (!(ttlMs > 0) || !Number.isFinite(ttlMs)) throw new Error(`a lease cannot last ${ttlMs} ms`);
    const body = { TTL: String(Math.ceil(ttlMs / 1_000)) };
    const { ID } = await this.requests.ask<LeaseAnswer>(GRANT, body);
    if (ID === undefined || !isLeaseId(ID)) throw new Error(`etcd granted no lease: ${ID}`);
    return ID;
  }

  async renew(leaseId: string): Promise<boolean> {
    if (!isLeaseId(leaseId)) return false;
    try {
      const answer = await this.requests.ask<RenewAnswer>(RENEW, { ID: leaseId });
      if (answer.result === undefined) throw new Error("etcd gave no answer about a lease");
      return Number(answer.result.TTL ?? 0) > 0;
    } catch (error) {
      if (error instanceof EtcdRefusal && error.isLeaseMissing) return false;
      throw error;
    }
  }

  async revoke(leaseId: string): Promise<void> {
    if (!isLeaseId(leaseId)) return;
    try {
      await this.requests.ask<LeaseAnswer>(REVOKE, { ID: leaseId });
    } catch (error) {
      if (!(error instanceof EtcdRefusal && error.isLeaseMissing)) throw error;
    }
  }
}

/** Whether etcd could have given out `leaseId`. */
export function isLeaseId(leaseId: string): boolean {
  return /^[1-9][0-9]{0,18}$/.test(leaseId);
}
