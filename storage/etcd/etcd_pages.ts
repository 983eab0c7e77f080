// Owns reading a range of etcd page by page, all of it as of one revision.
// Refuses to own what the keys mean. Invariant: what is returned was all there at one moment.
import { EtcdRefusal } from "./etcd_errors.ts";
import type { EtcdRange } from "./etcd_keys.ts";
import type { EtcdRequests } from "./etcd_requests.ts";
import { type EtcdKeyValue, type RangeAnswer, revisionOf } from "./etcd_wire.ts";

/** Entries a page: of the largest values 12 MB, which JSON makes 16 MB. */
const PAGE = 200;
const KEYS_PAGE = 2_000;
/** Times that etcd may forget the revision before all pages are read. */
const MAX_RESTARTS = 5;

const LIST = { action: "list metadata", path: "/v3/kv/range", isRepeatable: true };

export interface PagesRead {
  readonly found: EtcdKeyValue[];
  readonly revision: number;
}

export class EtcdPages {
  constructor(private readonly requests: EtcdRequests) {}

  /** The first `limit` entries of `range` in key order, and the revision they are of. Rejects as EtcdRequests.ask. */
  async read(
    range: EtcdRange,
    options: { readonly limit: number; readonly keysOnly: boolean },
  ): Promise<PagesRead> {
    if (options.limit <= 0) return { found: [], revision: 0 };
    for (let restarts = 0;; restarts++) {
      try {
        return await this.#readOnce(range, options);
      } catch (error) {
        const isCompacted = error instanceof EtcdRefusal && error.isCompacted;
        if (!isCompacted || restarts >= MAX_RESTARTS) throw error;
      }
    }
  }

  async #readOnce(
    range: EtcdRange,
    { limit, keysOnly }: { readonly limit: number; readonly keysOnly: boolean },
  ): Promise<PagesRead> {
    const found: EtcdKeyValue[] = [];
    let revision = 0;
    for (let key = range.key;;) {
      const page = Math.min(keysOnly ? KEYS_PAGE : PAGE, limit - found.length);
      const answer = await this.requests.ask<RangeAnswer>(LIST, {
        ...range,
        key,
        limit: String(page),
        keys_only: keysOnly,
        revision: String(revision),
      });
      if (revision === 0) revision = revisionOf(answer.header.revision);
      const entries = answer.kvs ?? [];
      for (const entry of entries) found.push(entry);
      const last = entries.at(-1);
      if (answer.more !== true || found.length >= limit || last === undefined) {
        return { found, revision };
      }
      key = followerOf(last.key);
    }
  }
}

/** The next possible key: the same with a NUL behind it. Both base64. */
function followerOf(key: string): string {
  const bytes = Uint8Array.fromBase64(key);
  const follower = new Uint8Array(bytes.length + 1);
  follower.set(bytes);
  return follower.toBase64();
}
