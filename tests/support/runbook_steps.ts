// Owns steps of toy runbooks, and what tests of executions say of errors.
// Refuses to own the scene (runbook_scene.ts). Invariant: steps that do nothing, each of another kind.
import type { BrokerError } from "../../storage/broker_error.ts";

export const code = (wanted: string) => (error: unknown) => (error as BrokerError).code === wanted;

export const CHECK = { name: "look", kind: "check" } as const;

export const ACT = {
  name: "act",
  kind: "action",
  undo: () => Promise.resolve("acted no more"),
} as const;

export const VERIFY = { name: "see", kind: "verify" } as const;
