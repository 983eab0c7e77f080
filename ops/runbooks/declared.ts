// Owns the runbooks that need more than one cluster, declared with their steps.
// Refuses to own doing any of it before there is. Invariant: none of them can be executed.
import type { Runbook, StepKind } from "../../actors/runbook/types.ts";
import { MINUTE_MS, runbook, type Step } from "./definition.ts";

function step(name: string, kind: StepKind, title: string): Step {
  const run = () => Promise.reject(new Error(`${name} is declared only`));
  return { name, title, kind, timeoutMs: MINUTE_MS, work: { run } };
}

/** A whole site is gone. */
export function siteFailure(): Runbook {
  return runbook(
    {
      name: "site-failure",
      title: "Site failure",
      describes: "A whole site is gone: the other one goes on from what has come over.",
      targetKinds: ["none"],
    },
    [
      step(
        "confirm-loss",
        "check",
        "See that no broker of the site answers, from more than one place",
      ),
      step("decide", "approval", "Decide to go on at the other site"),
      step(
        "fence-site",
        "action",
        "Shut the lost site out, so that it writes no more when it comes back",
      ),
      step(
        "promote",
        "action",
        "Open the other site's copies for writing, and note how far they are",
      ),
      step("move-offsets", "action", "Put the groups' offsets to the same messages there"),
      step("move-clients", "action", "Point producers and consumers to the other site"),
      step("see-flow", "verify", "See that messages are published and consumed there"),
    ],
    { available: false, targets: { rtoMs: 15 * MINUTE_MS, rpoMs: 30_000 } },
  );
}
