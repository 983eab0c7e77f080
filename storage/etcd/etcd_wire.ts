// Owns the shapes of etcd's v3 JSON gateway, as far as they are used. Numbers of 64 bits are strings, bytes are base64.
// Refuses to own sending (etcd_http.ts). Invariant: a field whose value is zero, false or empty is left out by etcd.

export interface EtcdHeader {
  readonly cluster_id?: string;
  readonly revision?: string;
  /** Of the member that answers: grows with every leader that it hears of. */
  readonly raft_term?: string;
}

export interface EtcdKeyValue {
  readonly key: string;
  readonly value?: string;
  readonly mod_revision: string;
}

export interface RangeAnswer {
  readonly header: EtcdHeader;
  readonly kvs?: readonly EtcdKeyValue[];
  readonly more?: boolean;
}

export interface TxnAnswer {
  readonly header: EtcdHeader;
  readonly succeeded?: boolean;
  readonly responses?: readonly {
    readonly response_delete_range?: { readonly deleted?: string };
  }[];
}

export interface LeaseAnswer {
  readonly header: EtcdHeader;
  readonly ID?: string;
  readonly TTL?: string;
}

/** What streams wrap each message in. */
export interface Streamed<Message> {
  readonly result?: Message;
  readonly error?: { readonly message?: string; readonly grpc_code?: number };
}

export interface WatchEvent {
  /** Left out for a put. */
  readonly type?: "PUT" | "DELETE";
  readonly kv: EtcdKeyValue;
}

export interface WatchAnswer {
  readonly header: EtcdHeader;
  readonly created?: boolean;
  readonly canceled?: boolean;
  readonly cancel_reason?: string;
  /** With `canceled`: the oldest revision that could be watched from. */
  readonly compact_revision?: string;
  /** More of the same revision follows in the next message. */
  readonly fragment?: boolean;
  readonly events?: readonly WatchEvent[];
}

/** Any answer; of a call that streams, its one message. */
export interface EtcdAnswer {
  readonly header?: EtcdHeader;
  readonly result?: { readonly header?: EtcdHeader };
}

/** A revision as a number: etcd counts writes, which do not reach 2^53. */
export function revisionOf(text: string | undefined): number {
  const revision = Number(text ?? 0);
  if (!Number.isSafeInteger(revision)) throw new Error(`not a revision of etcd: ${text}`);
  return revision;
}
