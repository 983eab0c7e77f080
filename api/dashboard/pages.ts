// Owns the table of pages: the first part of the address, and what is shown there.
// Refuses to own the pages themselves (pages/).
// Invariant: one entry a page; whatever follows in the address (a name, `?tab=`) is the page's own.
import type { FunctionComponent } from "preact";
import { GroupsPage } from "./pages/groups/groups_page.tsx";
import { NotFoundPage } from "./pages/not_found.tsx";
import { OverviewPage } from "./pages/overview/overview_page.tsx";
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
  { name: "groups", title: "Groups", isInMenu: true, Component: GroupsPage },
  { name: "topics", title: "Topics", isInMenu: true, Component: TopicsPage },
  { name: "traces", title: "Traces", isInMenu: true, Component: TracesPage },
];

export const NOT_FOUND: Page = {
  name: "?",
  title: "Not found",
  isInMenu: false,
  Component: NotFoundPage,
};
