// Owns where the handbook's page of an alert or runbook is, as people are shown it.
// Refuses to own the pages (ops/handbook/). Invariant: every threshold and every runbook has the page that is named here.

/** Within the repository. */
export function handbookPage(of: "alerts" | "runbooks", name: string): string {
  return `ops/handbook/${of}/${name}.md`;
}
