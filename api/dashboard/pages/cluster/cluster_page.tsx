// Owns the page of the cluster: brokers, moves of replicas under way, partitions with their replicas.
// Refuses to own what is done about them by itself: the controller does. Invariant: every list is paged by the broker.
import { useState } from "preact/hooks";
import type { Broker, Cluster, Move } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import { Figure, Figures, PageHead, Panel } from "../../components/panel.tsx";
import { ErrorBox } from "../../components/states.tsx";
import { bytes, count, plural } from "../../format.ts";
import { type Loaded, useLoaded } from "../../hooks.ts";
import type { PageProps } from "../../pages.ts";
import { api } from "../../session.ts";
import { BrokersPanel } from "./brokers_panel.tsx";
import { MovesPanel } from "./moves_panel.tsx";
import { PartitionsPanel } from "./partitions_panel.tsx";
import { RebalanceDialog } from "./rebalance_dialog.tsx";

const REFRESH_MS = 2_000;

interface Standing {
  readonly cluster: Cluster;
  readonly movesUnderWay: number;
  readonly throttleBytesPerSecond: number | null;
}

type MovesAnswer = Omit<Standing, "cluster"> & { readonly total: number; moves: readonly Move[] };

async function standing(signal: AbortSignal): Promise<Standing> {
  const [cluster, { total, throttleBytesPerSecond }] = await Promise.all([
    api.get<Cluster>("/api/cluster", {}, signal),
    api.get<MovesAnswer>("/api/partitions:reassign", { limit: 1 }, signal),
  ]);
  return { cluster, movesUnderWay: total, throttleBytesPerSecond };
}

export function ClusterPage({ place }: PageProps) {
  const loaded = useLoaded("cluster", standing, { everyMs: REFRESH_MS });
  const [isRebalancing, setRebalancing] = useState(false);
  const cluster = loaded.value?.cluster ?? null;
  const isAlone = cluster?.brokers.length === 1;
  const movesUnderWay = loaded.value?.movesUnderWay ?? 0;
  return (
    <>
      <PageHead
        title="Cluster"
        lead="Brokers, what they lead and hold, and how far their replicas are behind."
      >
        <button
          type="button"
          class="button"
          disabled={cluster === null || isAlone}
          title={isAlone ? "There is one broker: nothing can be moved" : undefined}
          onClick={() => setRebalancing(true)}
        >
          Rebalance…
        </button>
      </PageHead>
      <StandingPanel loaded={loaded} />
      <BrokersPanel isAlone={isAlone} />
      {movesUnderWay > 0 && <MovesPanel total={movesUnderWay} onChanged={loaded.reload} />}
      <PartitionsPanel place={place} />
      {isRebalancing && (
        <RebalanceDialog onClose={() => setRebalancing(false)} onBegun={loaded.reload} />
      )}
    </>
  );
}

function StandingPanel({ loaded }: { loaded: Loaded<Standing> }) {
  const { value, error, reload } = loaded;
  if (value === null) {
    return error === null ? null : <ErrorBox text={error} onRetry={reload} />;
  }
  const { cluster, movesUnderWay, throttleBytesPerSecond } = value;
  const { brokers, controller, offlinePartitions, underReplicatedPartitions } = cluster;
  const online = brokers.filter(({ state }) => state === "online").length;
  const offline = offlinePartitions.length;
  const behind = underReplicatedPartitions.length;
  return (
    <Panel title="Now" aside={<StateBadge brokers={brokers} offline={offline} behind={behind} />}>
      {error !== null && <ErrorBox text={error} onRetry={reload} />}
      <Figures>
        <Figure
          name="Brokers online"
          value={`${online} of ${brokers.length}`}
          tone={online < brokers.length ? "warn" : undefined}
          note={controller === null
            ? "no controller is elected"
            : `controller ${controller.nodeId}, epoch ${controller.epoch}`}
        />
        <Figure
          name="Offline partitions"
          value={count(offline)}
          tone={offline > 0 ? "bad" : undefined}
          note={offline > 0 ? "nobody can lead them" : "each has a leader"}
        />
        <Figure
          name="Under-replicated"
          value={count(behind)}
          tone={behind > 0 ? "warn" : undefined}
          note="partitions with too few replicas in sync"
        />
        <Figure
          name="Moves under way"
          value={count(movesUnderWay)}
          note={throttleBytesPerSecond === null
            ? "catching up is not held back"
            : `catching up at ${bytes(throttleBytesPerSecond)}/s at most`}
        />
      </Figures>
    </Panel>
  );
}

function StateBadge(
  { brokers, offline, behind }: {
    brokers: readonly Pick<Broker, "state">[];
    offline: number;
    behind: number;
  },
) {
  const gone = brokers.filter(({ state }) => state === "offline").length;
  if (offline > 0) return <Badge tone="bad">{plural(offline, "partition")} offline</Badge>;
  if (gone > 0) return <Badge tone="warn">{plural(gone, "broker")} offline</Badge>;
  if (behind > 0) return <Badge tone="warn">catching up</Badge>;
  return <Badge tone="ok">whole</Badge>;
}
