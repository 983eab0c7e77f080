// Owns the page of quotas: what tenants may ask for and use, and changing it.
// Refuses to own holding anybody to it. Invariant: use stands beside the limit that it counts towards.
import { useState } from "preact/hooks";
import type { Quota } from "../../answers.ts";
import { pathOf } from "../../api_client.ts";
import { ActionDialog } from "../../components/dialog.tsx";
import { FieldRow, TextField } from "../../components/fields.tsx";
import { PageHead, Panel } from "../../components/panel.tsx";
import { ErrorBox } from "../../components/states.tsx";
import { type Column, PagedTable } from "../../components/table.tsx";
import { tell } from "../../components/toasts.tsx";
import { ago, count } from "../../format.ts";
import { useAction, usePaged } from "../../hooks.ts";
import { brokerNow } from "../../live/live_overview.ts";
import { api } from "../../session.ts";
import { QuotaDialog } from "./quota_dialog.tsx";
import { type LimitName, LIMITS, tenantName } from "./limits.ts";

const REFRESH_MS = 3_000;

export function QuotasPage() {
  const paged = usePaged<Quota>("/api/quotas", "quotas", { everyMs: REFRESH_MS });
  const [editing, setEditing] = useState<Quota | null>(null);
  const [deleting, setDeleting] = useState<Quota | null>(null);
  const [tenant, setTenant] = useState("");
  const look = useAction();
  const find = (event: SubmitEvent) => {
    event.preventDefault();
    void look.run(async () => setEditing(await api.get<Quota>(pathOf("api", "quotas", tenant))));
  };
  return (
    <>
      <PageHead
        title="Quotas"
        lead="What each tenant may ask for, and what it uses (over about 10 seconds)."
      />
      <Panel title="Tenants with a quota" isFlush>
        <PagedTable
          caption="Quotas by tenant"
          columns={columnsOf(setEditing, setDeleting)}
          paged={paged}
          rowKey={({ tenant }) => tenant}
          rowTone={(quota) => isAtLimit(quota) ? "warn" : null}
          empty="No quota is set: nobody is limited."
        />
      </Panel>
      <Panel title="Another tenant">
        <form onSubmit={find}>
          <FieldRow>
            <TextField
              label="Tenant"
              hint="* is every tenant without a quota of its own."
              value={tenant}
              onValue={setTenant}
              required
            />
          </FieldRow>
          <div class="actions">
            <button type="submit" class="button" disabled={look.isBusy}>Show and set…</button>
          </div>
        </form>
        {look.error !== null && <ErrorBox text={look.error} />}
      </Panel>
      {editing !== null && (
        <QuotaDialog
          quota={editing}
          onClose={() => setEditing(null)}
          onSet={paged.reload}
        />
      )}
      {deleting !== null && (
        <ActionDialog
          title={`Delete the quota of ${tenantName(deleting.tenant)}`}
          confirm="Delete the quota"
          isDangerous
          onClose={() => setDeleting(null)}
          action={async () => {
            await api.delete(pathOf("api", "quotas", deleting.tenant));
            tell("The quota is deleted");
            paged.reload();
          }}
        >
          <p>
            {deleting.tenant === "*"
              ? "Tenants without a quota of their own have no limits any more."
              : "The quota of every tenant (*) holds for it from then on, or no limit if there is none."}
          </p>
        </ActionDialog>
      )}
    </>
  );
}

function isAtLimit(quota: Quota): boolean {
  return LIMITS.some(({ name }) => {
    const limit = quota[name];
    return limit !== null && limit > 0 && quota.usage[name] >= limit;
  });
}

function columnsOf(
  edit: (quota: Quota) => void,
  remove: (quota: Quota) => void,
): Column<Quota>[] {
  const cell = (name: LimitName, format: (value: number) => string) => (quota: Quota) => {
    const limit = quota[name];
    return (
      <div>
        {format(quota.usage[name])}
        <div class="soft">{limit === null ? "no limit" : `of ${format(limit)}`}</div>
      </div>
    );
  };
  return [
    {
      key: "tenant",
      title: "Tenant",
      isRowTitle: true,
      cell: ({ tenant, updatedAt, updatedBy }) => (
        <div>
          {tenantName(tenant)}
          {updatedAt !== null && (
            <div class="soft">set {ago(updatedAt, brokerNow())} by {updatedBy}</div>
          )}
        </div>
      ),
    },
    ...LIMITS.map(({ name, short, format }): Column<Quota> => ({
      key: name,
      title: short,
      isNumber: true,
      cell: cell(name, format),
    })),
    {
      key: "refused",
      title: "Refused",
      isNumber: true,
      cell: ({ usage }) => count(usage.refused),
    },
    {
      key: "act",
      title: "Change",
      isBare: true,
      cell: (quota) => (
        <span class="actions">
          <button
            type="button"
            class="button button-small"
            aria-label={`Change the quota of ${tenantName(quota.tenant)}`}
            onClick={() => edit(quota)}
          >
            Change…
          </button>
          <button
            type="button"
            class="button button-small button-danger"
            aria-label={`Delete the quota of ${tenantName(quota.tenant)}`}
            onClick={() => remove(quota)}
          >
            Delete…
          </button>
        </span>
      ),
    },
  ];
}
