// Owns the table of pages: the first part of the address, and what is shown there.
// Refuses to own the pages themselves (pages/).
// Invariant: one entry a page; whatever follows in the address (a name, `?tab=`) is the page's own.
import type { FunctionComponent } from "preact";
import { AlertsPage } from "./pages/alerts/alerts_page.tsx";
import { AuditPage } from "./pages/audit/audit_page.tsx";
import { ClusterPage } from "./pages/cluster/cluster_page.tsx";
import { DeadLettersPage } from "./pages/dead_letters/dead_letters_page.tsx";
import { GroupsPage } from "./pages/groups/groups_page.tsx";
import { NotFoundPage } from "./pages/not_found.tsx";
import { OverviewPage } from "./pages/overview/overview_page.tsx";
import { QuotasPage } from "./pages/quotas/quotas_page.tsx";
import { ReplaysPage } from "./pages/replays/replays_page.tsx";
import { RunbooksPage } from "./pages/runbooks/runbooks_page.tsx";
import { SloPage } from "./pages/slo/slo_page.tsx";
import { TopicsPage } from "./pages/topics/topics_page.tsx";
import { TracesPage } from "./pages/traces/traces_page.tsx";
import type { Place } from "./router.ts";

export interface PageProps {
  readonly place: Place;
}

export interface Page {
  /** First part of the path: `groups` of `#/groups/billing`; empty: the first page. */
  readonly name: string;
  readonly title: string;
  readonly isInMenu: boolean;
  readonly Component: FunctionComponent<PageProps>;
}

/** In the order of the menu. */
export const PAGES: readonly Page[] = [
  { name: "", title: "Overview", isInMenu: true, Component: OverviewPage },
  { name: "alerts", title: "Alerts", isInMenu: true, Component: AlertsPage },
  { name: "groups", title: "Groups", isInMenu: true, Component: GroupsPage },
  { name: "topics", title: "Topics", isInMenu: true, Component: TopicsPage },
  { name: "cluster", title: "Cluster", isInMenu: true, Component: ClusterPage },
  { name: "dead-letters", title: "Dead letters", isInMenu: true, Component: DeadLettersPage },
  { name: "replays", title: "Replays", isInMenu: true, Component: ReplaysPage },
  { name: "runbooks", title: "Runbooks", isInMenu: true, Component: RunbooksPage },
  { name: "slo", title: "Service levels", isInMenu: true, Component: SloPage },
  { name: "traces", title: "Traces", isInMenu: true, Component: TracesPage },
  { name: "audit", title: "Audit", isInMenu: true, Component: AuditPage },
  { name: "quotas", title: "Quotas", isInMenu: true, Component: QuotasPage },
];

export const NOT_FOUND: Page = {
  name: "?",
  title: "Not found",
  isInMenu: false,
  Component: NotFoundPage,
};
