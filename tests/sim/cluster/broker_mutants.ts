// Owns mutants of whole brokers in a cluster: markers of transactions that are not fenced.
// Refuses to own what should catch them. Invariant: see cluster_mutant.ts.
import type { PeerHandler } from "../../../actors/cluster/peers.ts";
import { peerMethod } from "../../../actors/cluster/routes.ts";
import type { MarkerCommand } from "../../../actors/partition/types.ts";
import { hasProducer, producerIdAt, readHeader } from "../../../storage/format/record_batch.ts";
import { type ClusterMutant, withClusterFaults } from "./cluster_mutant.ts";
import type { NodePorts } from "./node_machine.ts";

const APPEND = peerMethod("broker", "append");
const MARKER = peerMethod("broker", "writeMarker");

/** A process whose partitions take markers for whatever their producer does now. */
function unfenced(ports: NodePorts): NodePorts {
  const epochs = new Map<number, number>();
  let coordinatorEpoch = 0;
  const noting: (handler: PeerHandler) => PeerHandler = (handler) => (args, ...rest) => {
    const [, batches] = args as [unknown, Uint8Array[]];
    for (const batch of batches) {
      if (!hasProducer(batch, 0)) continue;
      epochs.set(producerIdAt(batch, 0), readHeader(batch, 0).producerEpoch);
    }
    return handler(args, ...rest);
  };
  const taking: (handler: PeerHandler) => PeerHandler = (handler) => (args, ...rest) => {
    const [at, marker] = args as [unknown, MarkerCommand];
    const producerEpoch = Math.max(marker.producerEpoch, epochs.get(marker.producerId) ?? 0);
    coordinatorEpoch = Math.max(coordinatorEpoch, marker.coordinatorEpoch);
    return handler([at, { ...marker, producerEpoch, coordinatorEpoch }], ...rest);
  };
  const connect: NodePorts["connect"] = (incarnation) => {
    const peers = ports.connect(incarnation);
    return {
      call: peers.call,
      handle: (method, handler) => {
        const wrap = method === APPEND ? noting : method === MARKER ? taking : null;
        peers.handle(method, wrap?.(handler) ?? handler);
      },
    };
  };
  return { ...ports, connect };
}

const unfencedMarkers: ClusterMutant = {
  name: "markers-are-not-fenced",
  fault: "the marker of a transaction that is over ends the one after it",
  broken: /I3|I1|all is copied|copier|x0/,
  plan: (plan) => ({
    ...withClusterFaults("restart", "slowMessages")(plan),
    faultEveryMs: 5_000,
    maxNetworkMs: 40,
    repeatOneIn: 1,
    brokers: 3,
    topics: 1,
    partitions: 1,
    members: 0,
    producers: 1,
    transforms: true,
  }),
  ports: unfenced,
};

export const BROKER_MUTANTS: readonly ClusterMutant[] = [unfencedMarkers];
