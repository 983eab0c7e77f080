// Owns the words and tones of states on the first page. Refuses to own the states.
// Invariant: pure; each state has a word that says it without its colour.
import type { Tone } from "../../tone.ts";
import { bytes, count, duration, milliseconds, shortCount } from "../../format.ts";
import type { OverviewNow } from "../../../overview/overview.ts";
import { type Direction, isStopped, type Trouble } from "./summary.ts";

export type LagStatus = OverviewNow["lags"][number]["status"];

export const TROUBLE_WORDS: Readonly<Record<Trouble["trouble"]["kind"], string>> = {
  "stalled": "Stalled",
  "unassigned": "Unassigned",
  "no-members": "No members",
  "paused": "Paused",
  "lagging": "Lagging",
};

/** Red for what stands still though somebody is there to read, nothing for what nobody misses, amber for the rest. */
export function troubleTone(trouble: Trouble): "bad" | "warn" | "quiet" {
  return trouble.isForgotten ? "quiet" : isStopped(trouble) ? "bad" : "warn";
}

/** Tone of several groups in trouble together. */
export function worstTone(troubles: readonly Trouble[]): "bad" | "warn" | "ok" {
  const tones = troubles.map(troubleTone);
  return tones.includes("bad") ? "bad" : tones.includes("warn") ? "warn" : "ok";
}

export function troubleWord({ trouble, isForgotten }: Trouble): string {
  return isForgotten ? `${TROUBLE_WORDS[trouble.kind]}, forgotten` : TROUBLE_WORDS[trouble.kind];
}

/** `2 in trouble, 1 forgotten`. */
export function troubleCount(troubles: readonly Trouble[]): string {
  const forgotten = troubles.filter(({ isForgotten }) => isForgotten).length;
  const rest = troubles.length - forgotten;
  return [rest > 0 && `${rest} in trouble`, forgotten > 0 && `${forgotten} forgotten`]
    .filter(Boolean).join(", ");
}

/** What an alert or an order is about: `broker 1`, `group billing`. */
export function resourceName({ type, name }: { type: string; name: string }): string {
  return name === "" ? type : `${type} ${name}`;
}

/** Nothing to read is no trouble, whoever has the partition. */
export function lagTone(
  { status, lag, isForgotten = false }: { status: LagStatus; lag: number; isForgotten?: boolean },
): Tone {
  if (lag === 0) return status === "ok" ? "ok" : "quiet";
  if (isForgotten) return "quiet";
  return ({
    stalled: "bad",
    unassigned: "warn",
    lagging: "warn",
    ok: "ok",
    idle: "quiet",
  } as const)[
    status
  ];
}

/** `growing by 120/s`, `falling by 2k/s, done in 4 min`. */
export function directionWords(direction: Direction | null): string | null {
  if (direction === null) return null;
  const { kind, perSecond, secondsLeft } = direction;
  if (kind === "steady") return "not falling";
  const pace = `${kind} by ${shortCount(perSecond)}/s`;
  return secondsLeft === null ? pace : `${pace}, done in ${duration(Math.ceil(secondsLeft))}`;
}

/** An alert's value in its unit. */
export function alertValue(value: number, unit: string): string {
  if (unit === "ratio") return `${Number((value * 100).toPrecision(3))}%`;
  if (unit === "seconds") return duration(value);
  if (unit === "milliseconds") return milliseconds(value);
  if (unit === "bytes") return bytes(value);
  return `${count(value)} ${unit}`;
}
