// Owns the little languages of arguments: offsets, times, durations, partitions, headers.
// Refuses to own what they are for. Invariant: what is not of the language is a UsageError that shows it.
import { UsageError } from "./failures.ts";

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** A number, `earliest`, `latest` or `@time`; what a read may start at. */
export type Position = number | "earliest" | "latest" | `@${string}`;

/** An offset as reads and replays take it; a time may be so long ago, as in `@15m`. */
export function position(text: string, now: number): Position {
  if (/^\d{1,16}$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  if (text === "earliest" || text === "latest") return text;
  if (text.startsWith("@")) return `@${instant(text.slice(1), now)}`;
  throw new UsageError(`"${text}" is no offset: a number, earliest, latest, or @ and a time`);
}

/** An offset as a reset takes it: the same, and `+n` and `-n` from what is committed. */
export function resetTarget(text: string, now: number): Position | `+${string}` | `-${string}` {
  if (/^[+-]\d{1,16}$/.test(text)) return text as `+${string}`;
  return position(text, now);
}

/** ms since the epoch, RFC 3339, or so long ago: `90s`, `15m`, `2h`, `1d`. */
export function instant(text: string, now: number): number {
  if (/^\d{1,16}$/.test(text)) return Number(text);
  if (/^\d+[smhd]$/.test(text)) return now - durationSeconds(text) * 1_000;
  const isDate = /^\d{4}-\d{2}-\d{2}/.test(text);
  const parsed = isDate ? Date.parse(text) : NaN;
  if (!Number.isNaN(parsed)) return parsed;
  throw new UsageError(`"${text}" is no time: ms, RFC 3339, or so long ago (90s, 15m, 2h, 1d)`);
}

/** `90s`, `15m`, `2h`, `1d`, or a number of seconds. */
export function durationSeconds(text: string): number {
  const match = /^(\d{1,9})([smhd]?)$/.exec(text);
  if (match === null) throw new UsageError(`"${text}" is no duration such as 90s, 15m, 2h, 1d`);
  return Number(match[1]) * (UNIT_SECONDS[match[2]!] ?? 1);
}

/** `name=value` each; `what` they are, for who writes them otherwise. */
export function pairsFrom(texts: readonly string[], what: string): Record<string, string> {
  return Object.fromEntries(texts.map((text) => {
    const equals = text.indexOf("=");
    if (equals < 1) throw new UsageError(`"${text}" is no ${what}: it is name=value`);
    return [text.slice(0, equals), text.slice(equals + 1)];
  }));
}

/** A path with `name` in it. */
export function pathOf(
  strings: TemplateStringsArray,
  ...names: readonly (string | number)[]
): string {
  return strings.map((text, index) =>
    text + (index < names.length ? encodeURIComponent(String(names[index])) : "")
  ).join("");
}
