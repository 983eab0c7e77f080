// Owns an execution's page: its steps as they run, what it found, RTO and RPO beside their targets, approve and abort.
// Refuses to own the execution. Invariant: looked at every second while it is under way.
import { useState } from "preact/hooks";
import type { Execution } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { Badge } from "../../components/badge.tsx";
import { Facts, Figure, Figures, PageHead, Panel } from "../../components/panel.tsx";
import { ReasonDialog } from "../../components/reason_dialog.tsx";
import { Notice, WhenLoaded } from "../../components/states.tsx";
import { tell } from "../../components/toasts.tsx";
import { count, dateTime, duration } from "../../format.ts";
import { useLoaded } from "../../hooks.ts";
import { brokerNow } from "../../live/live_overview.ts";
import { hrefOf } from "../../router.ts";
import { api } from "../../session.ts";
import { resourceName } from "../overview/wording.ts";
import { factsTold } from "./facts.ts";
import { executionTone, isKept, isUnderWay, STEP_TONES, targetName } from "./wording.ts";

const REFRESH_MS = 1_000;
/** Lines of one fact that are told at once. */
const MAX_LINES = 4;

const TARGET_PAGES: Readonly<Record<string, string>> = {
  group: "groups",
  topic: "topics",
  partition: "topics",
};

export function ExecutionPage({ executionId }: { executionId: string }) {
  const path = pathOf("api", "runbooks", "executions", executionId);
  const loaded = useLoaded(executionId, (signal) => api.get<Execution>(path, {}, signal), {
    everyMs: REFRESH_MS,
  });
  const [isAborting, setAborting] = useState(false);
  // As it was when the dialog was opened: what is approved is what is read, whatever goes on meanwhile.
  const [approving, setApproving] = useState<Execution | null>(null);
  const execution = loaded.value;
  const order = async (action: "approve" | "abort", body: Readonly<Record<string, unknown>>) => {
    const { state } = await api.post<Execution>(`${path}:${action}`, body);
    tell(`The execution is ${state}`);
    loaded.reload();
  };
  return (
    <>
      <PageHead
        title={execution === null ? "Execution" : `${execution.name}: ${targetName(execution)}`}
        lead={<a href={hrefOf(["runbooks"])}>All runbooks</a>}
      >
        {execution?.state === "waiting" && (
          <button
            type="button"
            class="button button-main"
            onClick={() => setApproving(execution)}
          >
            Approve…
          </button>
        )}
        {execution !== null && isUnderWay(execution) && (
          <button
            type="button"
            class="button button-danger"
            onClick={() => setAborting(true)}
          >
            Abort…
          </button>
        )}
      </PageHead>
      <WhenLoaded loaded={loaded}>
        {(value) => <ExecutionState execution={value} />}
      </WhenLoaded>
      {approving !== null && (
        <ReasonDialog
          title="Approve the execution"
          confirm="Approve"
          isReasonNeeded={false}
          onClose={() => setApproving(null)}
          action={(reason) => order("approve", { reason, step: waitingStep(approving)?.name })}
        >
          <ToApprove execution={approving} />
        </ReasonDialog>
      )}
      {isAborting && (
        <ReasonDialog
          title="Abort the execution"
          confirm="Abort"
          isDangerous
          isReasonNeeded={false}
          onClose={() => setAborting(false)}
          action={(reason) => order("abort", { reason })}
        >
          <p>It stops, and takes back what can be taken back. The rest is left as it is then.</p>
        </ReasonDialog>
      )}
    </>
  );
}

function waitingStep({ steps }: Execution): Execution["steps"][number] | undefined {
  return steps.find(({ state }) => state === "waiting");
}

/** What would be done, and what the steps before have found. */
function ToApprove({ execution }: { execution: Execution }) {
  const found = execution.steps.filter(({ state, detail }) => state === "done" && detail !== null);
  const detail = waitingStep(execution)?.detail ?? null;
  return (
    <>
      <p>
        It goes on with {targetName(execution)}, and acts: <b>{nextStep(execution)}</b>
      </p>
      {detail !== null && (
        <Notice tone="warn">
          <p>{detail}</p>
        </Notice>
      )}
      {found.length > 0 && (
        <Facts facts={found.map(({ title, detail }) => [title, detail] as const)} />
      )}
    </>
  );
}

function nextStep(execution: Execution | null): string {
  const step = execution?.steps.find(({ state }) => state === "waiting" || state === "pending");
  return step === undefined ? "nothing is left" : step.title;
}

function ExecutionState({ execution }: { execution: Execution }) {
  const { state, outcome, rtoMs, rpo, targets, facts, parameters } = execution;
  const found = factsTold({ ...parameters, ...facts });
  return (
    <>
      {state === "waiting" && (
        <Notice tone="warn">
          <p>It waits for approval. Next: {nextStep(execution)}</p>
          {waitingStep(execution)?.detail && <p>{waitingStep(execution)!.detail}</p>}
        </Notice>
      )}
      {outcome !== null && (
        <Notice tone={outcomeTone(execution)}>
          <p>{outcome}</p>
        </Notice>
      )}
      <Panel title="Now" aside={`mode ${execution.mode}`}>
        <Figures>
          <Figure
            name="State"
            value={<Badge tone={executionTone(execution)}>{state}</Badge>}
            note={took(execution)}
          />
          <Figure
            name="RTO"
            value={rtoMs === null ? "–" : duration(rtoMs / 1_000)}
            note={targetNote(targets.rtoMs)}
            tone={toneOf(isKept(rtoMs, targets.rtoMs))}
          />
          <Figure
            name="RPO"
            value={rpo === null ? "–" : duration(rpo.ms / 1_000)}
            note={targetNote(targets.rpoMs)}
            tone={toneOf(isKept(rpo?.ms ?? null, targets.rpoMs))}
          />
          <Figure name="Messages lost" value={rpo === null ? "–" : count(rpo.messages)} />
        </Figures>
      </Panel>
      <Panel title="Steps">
        <ol class="steps">
          {execution.steps.map((step) => <Step key={step.name} step={step} />)}
        </ol>
      </Panel>
      <div class="columns">
        <Panel title="Why and who">
          <Facts
            facts={[
              ["Reason", execution.reason],
              ["By", execution.by],
              ["Approved by", execution.approvedBy ?? "nobody"],
              ["Fault since", dateTime(execution.faultAt)],
              ["Started", dateTime(execution.startedAt)],
              ["Ended", dateTime(execution.endedAt)],
              [
                "Alert",
                execution.alertId === null
                  ? "none: started by hand"
                  : (
                    <a href={hrefOf(["alerts"], { alert: execution.alertId })}>
                      {execution.alertId}
                    </a>
                  ),
              ],
              ["Repairs", <TargetLink key="target" {...execution.target} />],
              ["Nobody else repairs", <Holds key="holds" holds={execution.holds} />],
            ]}
          />
        </Panel>
        {found.length > 0 && (
          <Panel title="What it found">
            <Facts
              facts={found.map(({ name, lines }) => [name, <Lines key={name} lines={lines} />])}
            />
          </Panel>
        )}
      </div>
    </>
  );
}

function Lines({ lines }: { lines: readonly string[] }) {
  const shown = lines.slice(0, MAX_LINES).map((line, index) => <div key={index}>{line}</div>);
  if (lines.length <= MAX_LINES) return <>{shown}</>;
  return (
    <details>
      <summary>{lines.length} entries</summary>
      {lines.map((line, index) => <div key={index}>{line}</div>)}
    </details>
  );
}

function Holds({ holds }: { holds: readonly string[] }) {
  if (holds.length === 0) return <>–</>;
  return (
    <>
      {holds.map((hold) => {
        const [type = "", ...name] = hold.split(":");
        return (
          <div key={hold}>
            <TargetLink type={type} name={name.join(":")} />
          </div>
        );
      })}
    </>
  );
}

/** The way to what is repaired, where it has a page. */
function TargetLink({ type, name }: { type: string; name: string }) {
  const page = TARGET_PAGES[type];
  const text = resourceName({ type, name });
  if (page === undefined || name === "") return <span>{text}</span>;
  // A partition is on its topic's page.
  const place = type === "partition" ? name.slice(0, name.lastIndexOf("/")) : name;
  return <a href={hrefOf([page, place])}>{text}</a>;
}

function Step({ step }: { step: Execution["steps"][number] }) {
  const { title, kind, state, startedAt, endedAt, detail, error, approvedBy, undone } = step;
  const since = startedAt === null ? null : ((endedAt ?? brokerNow()) - startedAt) / 1_000;
  return (
    <li>
      <span>
        <Badge tone={STEP_TONES[state]}>{state}</Badge>
      </span>
      <div>
        <b>{title}</b> <span class="soft">{kind}{since !== null && `, ${duration(since)}`}</span>
        {detail !== null && <p>{detail}</p>}
        {approvedBy !== undefined && <p class="soft">approved by {approvedBy}</p>}
        {undone !== undefined && <p>Taken back: {undone}</p>}
        {error !== undefined && (
          <Notice tone="bad">
            <p>{error.code}: {error.detail}</p>
          </Notice>
        )}
      </div>
    </li>
  );
}

function took({ startedAt, endedAt }: Execution): string {
  const seconds = ((endedAt ?? brokerNow()) - startedAt) / 1_000;
  return `${endedAt === null ? "for" : "took"} ${duration(seconds)}`;
}

function targetNote(targetMs: number | null): string {
  return targetMs === null ? "no target" : `target: at most ${duration(targetMs / 1_000)}`;
}

function outcomeTone(execution: Execution): "ok" | "bad" | "info" {
  const tone = executionTone(execution);
  return tone === "ok" || tone === "bad" ? tone : "info";
}

function toneOf(kept: boolean | undefined): "ok" | "bad" | undefined {
  return kept === undefined ? undefined : kept ? "ok" : "bad";
}
