// Owns the dialog that sets a tenant's whole quota. Refuses to own holding anybody to it.
// Invariant: it says what will change before it is confirmed; a field left empty is no limit.
import { useState } from "preact/hooks";
import type { Quota } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { ActionDialog } from "../../components/dialog.tsx";
import { FieldRow, TextField } from "../../components/fields.tsx";
import { Notice } from "../../components/states.tsx";
import { tell } from "../../components/toasts.tsx";
import { api } from "../../session.ts";
import { type LimitName, LIMITS, tenantName } from "./limits.ts";

type Fields = Readonly<Record<LimitName, string>>;

export function QuotaDialog(
  { quota, onClose, onSet }: { quota: Quota; onClose: () => void; onSet: () => void },
) {
  const [fields, setFields] = useState(() =>
    Object.fromEntries(
      LIMITS.map(({ name }) => [name, quota[name] === null ? "" : `${quota[name]}`]),
    ) as Fields
  );
  const limitOf = (name: LimitName) => fields[name].trim() === "" ? null : Number(fields[name]);
  const changed = LIMITS.filter(({ name }) => limitOf(name) !== quota[name]);
  const name = tenantName(quota.tenant);
  return (
    <ActionDialog
      title={`Quota of ${name}`}
      confirm="Set the quota"
      isReady={changed.length > 0}
      isWide
      onClose={onClose}
      action={async () => {
        const body = Object.fromEntries(LIMITS.map((limit) => [limit.name, limitOf(limit.name)]));
        await api.put(pathOf("api", "quotas", quota.tenant), body);
        tell(`The quota of ${name} is set`);
        onSet();
      }}
    >
      {quota.source === "default" && (
        <p class="soft">It has the quota of every other tenant (*) now.</p>
      )}
      <FieldRow>
        {LIMITS.map((limit) => (
          <TextField
            key={limit.name}
            label={limit.title}
            hint={`Used now: ${limit.format(quota.usage[limit.name])}. Empty: no limit.`}
            type="number"
            min={0}
            step={1}
            value={fields[limit.name]}
            onValue={(value) => setFields({ ...fields, [limit.name]: value })}
          />
        ))}
      </FieldRow>
      <div role="status">
        {changed.length === 0 ? <p class="soft">Nothing is changed yet.</p> : (
          <Notice tone="warn">
            <ul class="plain">
              {changed.map(({ name, title, format }) => {
                const [before, after] = [quota[name], limitOf(name)].map((limit) =>
                  limit === null ? "no limit" : format(limit)
                );
                return <li key={name}>{title}: {before} → {after}</li>;
              })}
            </ul>
            <p>Requests beyond it are refused from then on.</p>
          </Notice>
        )}
      </div>
    </ActionDialog>
  );
}
