// Owns whose the target of a runbook is.
// Refuses to own what a tenant may have of executions (admission.ts).
// Invariant: it follows from who made the target, never from its name.
import type { Topic } from "../broker.ts";
import type { RunbookTarget } from "./types.ts";

/** Whose the target of a runbook is; null: nobody's, or nobody can tell now: then no tenant's share is taken. */
export async function tenantOfTarget(
  { type, name }: RunbookTarget,
  { topic, groups }: {
    readonly topic: (name: string) => Topic | null;
    readonly groups: { tenantOf(group: string): Promise<string | null> };
  },
): Promise<string | null> {
  if (type === "tenant") return name;
  if (type === "group") return await groups.tenantOf(name).catch(() => null);
  if (type !== "topic" && type !== "partition") return null;
  const found = topic(type === "topic" ? name : name.slice(0, name.lastIndexOf("/")));
  return found?.tenant ?? found?.lettersOf ?? null;
}
