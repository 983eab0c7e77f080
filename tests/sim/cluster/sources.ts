// Owns what the ledgers of a run are told of a cluster.
// Refuses to own ledgers. Invariant: several brokers answer, so one may be behind another.
import type { LedgerSource } from "../client_scene.ts";

/** No log of one broker is the truth, and none of the topics here loses anything to retention. */
export const CLUSTER_SOURCE: LedgerSource = {
  broker: null,
  worstStartErrorMs: 0,
  mayBeBehind: true,
  logOf: () => null,
  onEnded: () => undefined,
};
