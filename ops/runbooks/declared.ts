// Owns the runbooks that need brokers to replicate, declared with their steps.
// Refuses to own doing any of it before they do. Invariant: none of them can be executed.
import type { Runbook, StepKind } from "../../actors/runbook/types.ts";
import { MINUTE_MS, runbook, type Step } from "./definition.ts";

function step(name: string, kind: StepKind, title: string): Step {
  const run = () => Promise.reject(new Error(`${name} is declared only`));
  return { name, title, kind, timeoutMs: MINUTE_MS, work: { run } };
}

/** A broker of the cluster is gone. */
export function brokerFailure(): Runbook {
  return runbook(
    {
      name: "broker-failure",
      title: "Broker failure",
      describes:
        "A broker is gone: others take its partitions over, and it is fenced until it has caught up.",
      targetKinds: ["broker"],
    },
    [
      step(
        "confirm-loss",
        "check",
        "See that its lease has run out, and that it is not the network of this node",
      ),
      step("fence", "action", "Raise the epochs of its partitions, so that it writes no more"),
      step("elect", "action", "Elect leaders from the in-sync replicas"),
      step("see-writes", "verify", "See that every partition has a leader and takes writes"),
      step("replace", "approval", "Decide whether it comes back or is replaced"),
      step("re-replicate", "action", "Bring its replicas up to date on other brokers"),
      step(
        "see-replicas",
        "verify",
        "See that no partition has fewer replicas in sync than it should",
      ),
    ],
    { available: false, targets: { rtoMs: 2 * MINUTE_MS, rpoMs: 0 } },
  );
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
