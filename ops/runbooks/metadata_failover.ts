// Owns the runbook for metadata that cannot be reached, or whose leader has changed.
// Refuses to own repairing etcd: no broker may. Invariant: nothing of the cluster is changed; what is written to see that
// decisions go on lies under a key that nobody else reads, and is taken away again.
import type { Runbook } from "../../actors/runbook/types.ts";
import type { MetadataKey } from "../../storage/metadata.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { named, nameOf } from "./away_steps.ts";
import {
  again,
  clusterOf,
  type ClusterPorts,
  done,
  MINUTE_MS,
  runbook,
  type RunbookPorts,
  type Step,
} from "./definition.ts";

/** Decisions in a row that are seen to be made. */
const PROBES = 3;
/** A decision that takes longer is told of: elections wait for several. */
const SLOW_MS = 250;

export function metadataFailover(ports: RunbookPorts): Runbook {
  return runbook(
    {
      name: "metadata-failover",
      title: "Metadata failover",
      describes:
        "The metadata store (etcd) is away, or its leader has changed: tells what the brokers know, sees that " +
        "decisions are made again and that a controller makes them, and says what is left to do.",
      targetKinds: ["none"],
    },
    [knownStep(ports), decideStep(ports), controlledStep(ports), recommendStep(ports)],
    { available: ports.cluster !== undefined, onlyLooks: true },
  );
}

function knownStep(ports: RunbookPorts): Step {
  return {
    name: "look",
    title: "See what this broker knows of the cluster, from memory",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      run() {
        const { view } = clusterOf(ports);
        const term = view.controller();
        const controller = term === null
          ? "no controller"
          : `controller ${term.nodeId} of epoch ${term.epoch}`;
        const lease = view.hasLease ? "its lease holds" : "its lease has run out";
        const detail = `broker ${view.nodeId}: ${lease}; ${controller}; ${view.online().size} of ` +
          `${view.members().size} brokers are online`;
        return Promise.resolve(done(detail, { facts: { controllerBefore: term } }));
      },
    },
  };
}

/** Each decision rests on the one before; one that rests on an older one has to be refused. */
function decideStep(ports: RunbookPorts): Step {
  return {
    name: "decide",
    title: "See that a compare-and-set is made, and one that comes too late is refused",
    kind: "verify",
    timeoutMs: 10 * MINUTE_MS,
    work: {
      async run({ executionId }) {
        const { metadata } = clusterOf(ports);
        const key: MetadataKey = ["probes", "runbooks", executionId];
        const startedMs = ports.clock.monotonic();
        let stale = (await metadata.get(key))?.version ?? null;
        for (let probe = 0; probe < PROBES; probe++) {
          const before = stale;
          await decided(metadata, { key, version: before, value: { probe } });
          const kept = await metadata.get(key);
          if (kept === null) throw unavailable("what was decided cannot be read");
          if (await metadata.commit({ checks: [{ key, version: before }], deletes: [key] })) {
            // Two deciders would overwrite each other: no broker can help that.
            return {
              outcome: "manual",
              detail: "the metadata store has let a decision through that rested on an older state",
            };
          }
          stale = kept.version;
        }
        const decisionMs = Math.round((ports.clock.monotonic() - startedMs) / PROBES);
        await metadata.commit({ checks: [{ key, version: stale }], deletes: [key] });
        return done(`${PROBES} decisions were made, ${decisionMs} ms each`, {
          facts: { decisionMs },
        });
      },
    },
  };
}

async function decided(
  metadata: ClusterPorts["metadata"],
  { key, version, value }: { key: MetadataKey; version: string | null; value: unknown },
): Promise<void> {
  const sets = [{ key, value }];
  if (!await metadata.commit({ checks: [{ key, version }], sets })) {
    // An attempt before this one, of which no answer came, was made: the next look starts from it.
    throw unavailable("a decision was made of which no answer came");
  }
}

function unavailable(why: string): BrokerError {
  return new BrokerError("METADATA_UNAVAILABLE", why);
}

function controlledStep(ports: RunbookPorts): Step {
  return {
    name: "controlled",
    title:
      "See that brokers are registered, a controller decides, and every partition has a leader",
    kind: "verify",
    timeoutMs: 2 * MINUTE_MS,
    work: {
      async run() {
        const { view, administration } = clusterOf(ports);
        await view.refresh();
        if (!view.hasLease) return again(`broker ${view.nodeId} has no lease yet`);
        const term = view.controller();
        if (term === null) return again("no broker is controller yet");
        if (!view.online().has(term.nodeId)) return again(`controller ${term.nodeId} is not there`);
        const placements = await administration.placements();
        const offline = placements.filter(({ state }) => state === "offline");
        if (offline.length > 0) return again(`no leader: ${named(offline.map(nameOf))}`);
        return done(
          `controller ${term.nodeId} of epoch ${term.epoch}; all ${placements.length} partitions have a leader`,
          { served: true },
        );
      },
    },
  };
}

function recommendStep(ports: RunbookPorts): Step {
  return {
    name: "recommend",
    title: "Say what is left to do",
    kind: "check",
    timeoutMs: MINUTE_MS,
    work: {
      run({ facts }) {
        const { view } = clusterOf(ports);
        const away = [...view.members().keys()].filter((id) => !view.online().has(id));
        const decisionMs = facts.decisionMs as number | undefined;
        const advice = [
          ...(away.length === 0 ? [] : [`broker-failure for broker ${away.join(", ")}`]),
          ...(decisionMs !== undefined && decisionMs > SLOW_MS
            ? [
              `${decisionMs} ms a decision is slow: look at the disks of etcd and the network to it`,
            ]
            : []),
        ];
        const detail = advice.length === 0
          ? "nothing is left to do here; see by etcd's own tools that all of its members are there"
          : advice.join("; ");
        return Promise.resolve(done(detail, { facts: { away } }));
      },
    },
  };
}
