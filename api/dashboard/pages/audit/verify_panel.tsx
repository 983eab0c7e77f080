// Owns verifying the chain of audit entries on demand. Refuses to own verifying: the broker reads the whole log.
// Invariant: what is told is the answer's, with when it was asked for.
import { useState } from "preact/hooks";
import type { AuditVerification } from "../../answers.ts";
import { Badge } from "../../components/badge.tsx";
import { Panel } from "../../components/panel.tsx";
import { ErrorBox } from "../../components/states.tsx";
import { count, dateTime } from "../../format.ts";
import { useAction } from "../../hooks.ts";
import { api } from "../../session.ts";

export function VerifyPanel() {
  const verify = useAction();
  const [found, setFound] = useState<{ at: number; answer: AuditVerification } | null>(null);
  const run = () =>
    verify.run(async () => {
      const answer = await api.get<AuditVerification>("/api/audit:verify");
      setFound({ at: Date.now(), answer });
    });
  return (
    <Panel
      title="Chain"
      {...found === null ? {} : { tone: found.answer.intact ? "ok" as const : "bad" as const }}
      actions={
        <button type="button" class="button" disabled={verify.isBusy} onClick={run}>
          {verify.isBusy ? "Verifying…" : "Verify the chain"}
        </button>
      }
    >
      {verify.error !== null && <ErrorBox text={verify.error} />}
      <div role="status">
        {found === null
          ? <p class="soft">Reads the whole log and checks every entry's hash.</p>
          : <Answer {...found} />}
      </div>
    </Panel>
  );
}

function Answer({ at, answer }: { at: number; answer: AuditVerification }) {
  const { intact, entries, head, faults = [], faultCount } = answer;
  return (
    <>
      <p>
        {intact ? <Badge tone="ok">intact</Badge> : <Badge tone="bad">not intact</Badge>}{" "}
        {count(entries)} entries found as they were written, up to {count(head.sequence)}, at{" "}
        {dateTime(at)}.
      </p>
      <p class="soft">
        Head <span class="mono">{head.hash}</span>
      </p>
      {!intact && (
        <ul>
          {faults.map(({ sequence, upTo, reason }) => (
            <li key={sequence}>
              {upTo === undefined ? `Entry ${sequence}` : `Entries ${sequence} to ${upTo}`}:{" "}
              {reason}
            </li>
          ))}
          {faultCount !== undefined && faultCount > faults.length && (
            <li>and {count(faultCount - faults.length)} more</li>
          )}
        </ul>
      )}
    </>
  );
}
