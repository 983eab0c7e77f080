// Owns which state of a group, a partition or a canary is told in which tone.
// Refuses to own drawing them (components/badge.tsx). Invariant: pure; every state has a tone.
import type { Canary, Group, GroupLag } from "../../answers.ts";
import type { Tone } from "../../tone.ts";

const PHASES: Readonly<Record<Group["state"], Tone>> = {
  stable: "ok",
  preparing: "info",
  empty: "quiet",
};

export function phaseTone(state: Group["state"]): Tone {
  return PHASES[state];
}

type LagStatus = GroupLag["partitions"][number]["status"];

const STATUSES: Readonly<Record<LagStatus, Tone>> = {
  ok: "ok",
  idle: "quiet",
  lagging: "warn",
  stalled: "bad",
  unassigned: "warn",
};

export function lagTone(status: LagStatus): Tone {
  return STATUSES[status];
}

const CANARIES: Readonly<Record<Canary["state"], Tone>> = {
  running: "info",
  withdrawn: "bad",
  promoted: "ok",
};

export function canaryTone(state: Canary["state"]): Tone {
  return CANARIES[state];
}
