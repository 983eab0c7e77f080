// Owns the checks that several drills end with.
// Refuses to own what they mean for the verdict (verdict.ts). Invariant: a check shows the figures that it was judged by.
import type { Load } from "./load.ts";
import type { Scene } from "./scene.ts";
import type { Check } from "./types.ts";

/** Waits until alerts of all these thresholds have fired and are resolved; with repairs off a short time. */
export async function alertsResolved(scene: Scene, ...names: readonly string[]): Promise<Check> {
  const isMet = await scene.settled(
    () => names.every((name) => scene.watch.alert(name, "resolved") !== null),
    `alert ${names.join(" and ")} to be resolved`,
    scene.repairs ? 30_000 : 2_000,
  );
  const states = scene.watch.alerts.map(({ name, state }) => `${name} ${state}`);
  return {
    what: `${names.length === 1 ? "alert" : "alerts"} ${names.join(" and ")} fired and ${
      names.length === 1 ? "was" : "were"
    } resolved`,
    isMet,
    found: [...new Set(states)].join(", ") || "none was pending",
  };
}

/** The producer gave no message up. */
export function nothingGivenUp({ failed, failures }: Load): Check {
  return {
    what: "no message was given up by the producer",
    isMet: failed === 0,
    found: failed === 0 ? "none" : `${failed}: ${failures[0]}`,
  };
}

/** The newest execution of a runbook ended verified. */
export function runbookVerified({ watch }: Scene, name: string): Check {
  const execution = watch.execution(name);
  return {
    what: `runbook ${name} ended verified`,
    isMet: execution?.state === "verified",
    found: execution === null ? "it was not started" : execution.outcome ?? execution.state,
  };
}
