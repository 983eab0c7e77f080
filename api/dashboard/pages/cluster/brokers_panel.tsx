// Owns the table of brokers, and emptying one or taking it back.
// Refuses to own moving what it holds: the controller does. Invariant: what happens is said before it is confirmed.
import { useState } from "preact/hooks";
import type { Broker } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { Badge } from "../../components/badge.tsx";
import { ActionDialog } from "../../components/dialog.tsx";
import { Panel } from "../../components/panel.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { tell } from "../../components/toasts.tsx";
import { count, milliseconds, plural } from "../../format.ts";
import { usePaged } from "../../hooks.ts";
import { api } from "../../session.ts";
import type { Tone } from "../../tone.ts";

const REFRESH_MS = 2_000;

const TONES: Readonly<Record<Broker["state"], Tone>> = {
  online: "ok",
  draining: "info",
  fenced: "warn",
  offline: "bad",
};

interface Asked {
  readonly broker: Broker;
  readonly verb: "drain" | "undrain" | "decommission";
}

export function BrokersPanel({ isAlone }: { isAlone: boolean }) {
  const paged = usePaged<Broker>("/api/brokers", "brokers", { everyMs: REFRESH_MS });
  const [asked, setAsked] = useState<Asked | null>(null);
  return (
    <Panel title="Brokers" isFlush>
      <PagedTable
        caption="Brokers"
        columns={[...COLUMNS, ...isAlone ? [] : [actColumn(setAsked)]]}
        paged={paged}
        rowKey={({ nodeId }) => nodeId}
        rowTone={({ state, outOfSync }) =>
          state === "offline" ? "bad" : outOfSync > 0 ? "warn" : null}
        empty="No broker is known."
      />
      {asked !== null && (
        <SteerDialog
          {...asked}
          onClose={() => setAsked(null)}
          onDone={paged.reload}
        />
      )}
    </Panel>
  );
}

const COLUMNS: readonly Column<Broker>[] = [
  {
    key: "broker",
    title: "Broker",
    isRowTitle: true,
    cell: ({ nodeId, host, port, version }) => (
      <div>
        {nodeId}
        {host !== null && <div class="soft">{host}:{port} · {version}</div>}
      </div>
    ),
  },
  {
    key: "state",
    title: "State",
    cell: ({ state }) => <Badge tone={TONES[state]}>{state}</Badge>,
  },
  { key: "zone", title: "Zone", cell: ({ zone }) => zone ?? "none" },
  { key: "leaders", title: "Leads", isNumber: true, cell: ({ leaders }) => count(leaders) },
  { key: "replicas", title: "Replicas", isNumber: true, cell: ({ replicas }) => count(replicas) },
  {
    key: "outOfSync",
    title: "Not in sync",
    isNumber: true,
    cell: ({ outOfSync }) => count(outOfSync),
  },
  {
    key: "lag",
    title: "Behind",
    isNumber: true,
    cell: ({ lag }) => <Lag lag={lag} />,
  },
];

function Lag({ lag }: { lag: Broker["lag"] }) {
  if (lag === null) return <>not known</>;
  if (lag.messages === 0) return <>0</>;
  return (
    <div>
      {milliseconds(Math.round(lag.behindMs))}
      <div class="soft">
        {plural(lag.messages, "message")} of {plural(lag.partitions, "partition")}
      </div>
    </div>
  );
}

function actColumn(ask: (asked: Asked) => void): Column<Broker> {
  return {
    key: "act",
    title: "Change",
    isBare: true,
    cell: (broker) => {
      const { nodeId, state, replicas } = broker;
      const verb = state === "online" || (state === "offline" && replicas > 0)
        ? "drain"
        : state === "offline"
        ? "decommission"
        : state === "draining"
        ? "undrain"
        : null;
      if (verb === null) return null;
      const words = { drain: "Drain", undrain: "Take back", decommission: "Decommission" }[verb];
      return (
        <button
          type="button"
          class={verb === "undrain" ? "button button-small" : "button button-small button-danger"}
          aria-label={`${words} broker ${nodeId}`}
          onClick={() => ask({ broker, verb })}
        >
          {words}…
        </button>
      );
    },
  };
}

function SteerDialog(
  { broker, verb, onClose, onDone }: Asked & { onClose: () => void; onDone: () => void },
) {
  const { nodeId, leaders, replicas } = broker;
  const path = pathOf("api", "brokers", nodeId);
  const done = (words: string) => {
    tell(words);
    onDone();
  };
  if (verb === "decommission") {
    return (
      <ActionDialog
        title={`Decommission broker ${nodeId}`}
        confirm="Decommission"
        isDangerous
        onClose={onClose}
        action={async () => {
          await api.delete(path);
          done(`Broker ${nodeId} is no longer one of the cluster`);
        }}
      >
        <p>It holds nothing and is not running. The cluster forgets it for good.</p>
      </ActionDialog>
    );
  }
  if (verb === "undrain") {
    return (
      <ActionDialog
        title={`Take broker ${nodeId} back`}
        confirm="Take back"
        onClose={onClose}
        action={async () => {
          await api.post(`${path}:undrain`);
          done(`Broker ${nodeId} may hold replicas again`);
        }}
      >
        <p>It may hold replicas again. What has moved away stays there until a rebalance.</p>
      </ActionDialog>
    );
  }
  return (
    <ActionDialog
      title={`Drain broker ${nodeId}`}
      confirm="Drain"
      isDangerous
      onClose={onClose}
      action={async () => {
        await api.post(`${path}:drain`);
        done(`Broker ${nodeId} is being emptied`);
      }}
    >
      <p>
        What it leads ({plural(leaders, "partition")}) and holds ({plural(replicas, "replica")})
        {" "}
        moves to the other brokers, as far as they can take it. It serves until it is empty.
      </p>
    </ActionDialog>
  );
}
