// Owns mutants of replication: early acknowledgements, cuts to the wrong place or in the wrong epoch, in-sync sets that
// change by belief, epochs that stay.
// Refuses to own what should catch them. Invariant: see cluster_mutant.ts.
import type { Peers } from "../../../actors/cluster/peers.ts";
import type { ClusterView, KeptPartition } from "../../../actors/cluster/types.ts";
import {
  type FetchEntry,
  REPLICA_FETCH,
  type ReplicaAnswer,
  type ReplicaFetch,
  type ReplicaFetchReply,
  replicaKey,
} from "../../../actors/replication/protocol.ts";
import { withMembers } from "../../support/with_members.ts";
import { eachLog, hastyLog } from "../mutants/log_mutants.ts";
import { type ClusterMutant, withClusterFaults } from "./cluster_mutant.ts";
import type { NodePorts } from "./node_machine.ts";

const acksBeforeSync: ClusterMutant = {
  name: "replicas-acknowledge-before-the-sync",
  fault: "a replica says that it has synced what it has only written",
  broken: /rule 10|I1|I2/,
  plan: withClusterFaults("powerCut"),
  ports: (ports) => ({ ...ports, logs: eachLog(ports.logs, hastyLog) }),
};

/** What a follower hears of a partition, and what it had told to hear it. */
type Rewrite = (answer: ReplicaAnswer, asked: FetchEntry) => ReplicaAnswer;

/** A process whose followers hear something else than what their leader has said. */
function hearing(ports: NodePorts, rewrite: Rewrite): NodePorts {
  /** As the follower has told its leaders, by partition. */
  const told = new Map<string, FetchEntry>();
  const call: Peers["call"] = async <T>(...[to, request, options]: Parameters<Peers["call"]>) => {
    const answer = await peers!.call<T>(to, request, options);
    if (request.method !== REPLICA_FETCH) return answer;
    for (const entry of (request.args as ReplicaFetch).changed) told.set(replicaKey(entry), entry);
    const reply = answer as ReplicaFetchReply;
    const answers = reply.answers.map((each) => {
      const asked = told.get(replicaKey(each));
      return asked === undefined ? each : rewrite(each, asked);
    });
    return { ...reply, answers } as T;
  };
  let peers: Peers | null = null;
  const connect: NodePorts["connect"] = (incarnation) => {
    peers = ports.connect(incarnation);
    return { call, handle: peers.handle };
  };
  return { ...ports, connect };
}

function cutTo(answer: ReplicaAnswer, asked: FetchEntry, endOffset: number): ReplicaAnswer {
  const { batches: _, ...rest } = answer;
  return { ...rest, diverging: { leaderEpoch: asked.lastEpoch, endOffset } };
}

const cutsToOwnHighWatermark: ClusterMutant = {
  name: "followers-cut-to-their-own-high-watermark",
  fault: "a follower of a new leader cuts its log back to the high watermark that it knows",
  broken: /rule 10|I1|I2/,
  plan: withClusterFaults("kill", "pause", "restart"),
  ports: (ports) => {
    const known = new Map<string, { epoch: number; highWatermark: number }>();
    return hearing(ports, (answer, asked) => {
      const key = replicaKey(answer);
      const before = known.get(key) ?? { epoch: asked.leaderEpoch, highWatermark: 0 };
      const { leaderEpoch: epoch, highWatermark } = answer;
      known.set(key, { epoch, highWatermark: Math.min(highWatermark, asked.fetchOffset) });
      const isNew = epoch > before.epoch && before.highWatermark < asked.fetchOffset;
      return isNew ? cutTo(answer, asked, before.highWatermark) : answer;
    });
  },
};

const unfencedTruncation: ClusterMutant = {
  name: "followers-cut-in-another-epoch",
  firstSeed: 40,
  fault: "what the leader of one epoch says of where logs part is done in a later epoch too",
  broken: /rule 10|I1|I2/,
  plan: withClusterFaults("isolate", "pause", "cut", "metadataCut"),
  ports: (ports) => {
    const late = new Map<string, ReplicaAnswer>();
    return hearing(ports, (answer, asked) => {
      const key = replicaKey(answer);
      if (answer.diverging !== undefined) late.set(key, answer);
      const old = late.get(key);
      const endOffset = old?.diverging?.endOffset ?? Infinity;
      if (old === undefined || old.leaderEpoch >= answer.leaderEpoch) return answer;
      late.delete(key);
      return endOffset < asked.fetchOffset ? cutTo(answer, asked, endOffset) : answer;
    });
  },
};

function withChange(
  view: ClusterView,
  changeInSync: ClusterView["changeInSync"],
): ClusterView {
  return withMembers(view, { changeInSync });
}

const unfencedJoin: ClusterMutant = {
  name: "anyone-joins-the-in-sync-set",
  fault: "a replica joins the in-sync set whatever it has, and in whichever registration",
  broken: /rule 10|I1|I2/,
  plan: withClusterFaults("kill", "wipe", "slowSync", "isolate"),
  view: (view) =>
    withChange(view, (kept, { isr }) => {
      const joined = kept.record.replicas.filter((id) => isr.includes(id) || view.online().has(id));
      return view.changeInSync(kept, { isr: joined, elr: [] });
    }),
};

const earlyRemoval: ClusterMutant = {
  name: "removals-count-before-they-are-kept",
  fault: "a leader no longer counts a replica as soon as it wants it out of the in-sync set",
  broken: /rule 10|I1|I2/,
  plan: (plan) => ({
    ...withClusterFaults("cut", "isolate", "metadataCut", "slowSync")(plan),
    lagMaxMs: 1_500,
  }),
  view: (view) =>
    withChange(view, async (kept, change) => {
      const changed = view.changeInSync(kept, change);
      const joins = change.isr.some((id) => !kept.record.isr.includes(id));
      if (joins) return await changed;
      changed.catch(() => undefined);
      return { record: { ...kept.record, ...change }, version: kept.version };
    }),
};

const sameEpoch: ClusterMutant = {
  name: "leaders-start-anew-in-their-epoch",
  fault: "a leader that has started anew goes on in the epoch it had",
  broken: /both lead|rule 10|I1|I2/,
  plan: withClusterFaults("kill", "powerCut"),
  view: (view) =>
    withMembers(view, {
      raiseLeaderEpoch: (kept: KeptPartition) => Promise.resolve(kept),
    }),
};

export const REPLICA_MUTANTS: readonly ClusterMutant[] = [
  acksBeforeSync,
  cutsToOwnHighWatermark,
  unfencedTruncation,
  unfencedJoin,
  earlyRemoval,
  sameEpoch,
];
