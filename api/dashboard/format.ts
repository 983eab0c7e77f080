// Owns how numbers, sizes, durations and times are written for people.
// Refuses to own what they mean.
// Invariant: pure; a figure that nobody knows is written as a dash, never as 0.

/** What stands for a figure that is not known. */
export const UNKNOWN = "–";

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;
const COUNTS = ["", "k", "M", "G", "T"] as const;

/** `1,234,567`. */
export function count(value: number | null | undefined): string {
  return isKnown(value) ? Math.round(value).toLocaleString("en-US") : UNKNOWN;
}

/** `1.2k`, `15.3M`: three digits that count. */
export function shortCount(value: number | null | undefined): string {
  if (!isKnown(value)) return UNKNOWN;
  return scaled(value, 1_000, COUNTS);
}

/** `1.5 MiB`. */
export function bytes(value: number | null | undefined): string {
  if (!isKnown(value)) return UNKNOWN;
  return scaled(value, 1_024, SIZES.map((size) => ` ${size}`));
}

/** `12.3%` of a share from 0 to 1. */
export function percent(share: number | null | undefined): string {
  if (!isKnown(share)) return UNKNOWN;
  const value = share * 100;
  return `${value === 0 || value >= 10 ? trimmed(value, 1) : trimmed(value, 2)}%`;
}

/** `0.8 ms`, `340 ms`, `2.5 s`. */
export function milliseconds(value: number | null | undefined): string {
  if (!isKnown(value)) return UNKNOWN;
  if (value < 1_000) return `${trimmed(value, value < 10 ? 2 : value < 100 ? 1 : 0)} ms`;
  return duration(value / 1_000);
}

/** `45 s`, `3 min 20 s`, `2 h 5 min`, `4 d 1 h`: two units at most. */
export function duration(seconds: number | null | undefined): string {
  if (!isKnown(seconds)) return UNKNOWN;
  if (seconds < 10) return `${trimmed(Math.max(0, seconds), 1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return pair(whole, [60, "min"], [1, "s"]);
  if (whole < 86_400) return pair(whole, [3_600, "h"], [60, "min"]);
  return pair(whole, [86_400, "d"], [3_600, "h"]);
}

/** How long ago a wall time (ms) was. */
export function ago(atMs: number | null | undefined, nowMs: number): string {
  if (!isKnown(atMs)) return UNKNOWN;
  const seconds = (nowMs - atMs) / 1_000;
  return seconds < 1 ? "now" : `${duration(Math.floor(seconds))} ago`;
}

/** `14:05:09`, with the date where it is another day than `nowMs`; local time. */
export function clockTime(atMs: number | null | undefined, nowMs: number): string {
  if (!isKnown(atMs)) return UNKNOWN;
  const at = new Date(atMs);
  const time = at.toLocaleTimeString("en-GB");
  return at.toDateString() === new Date(nowMs).toDateString() ? time : `${day(at)} ${time}`;
}

/** `2026-03-01 14:05:09`; local time. */
export function dateTime(atMs: number | null | undefined): string {
  if (!isKnown(atMs)) return UNKNOWN;
  const at = new Date(atMs);
  return `${day(at)} ${at.toLocaleTimeString("en-GB")}`;
}

/** `1 member`, `3 members`. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

function isKnown(value: number | null | undefined): value is number {
  return value !== null && value !== undefined && Number.isFinite(value);
}

function scaled(value: number, base: number, units: readonly string[]): string {
  let rest = value;
  let unit = 0;
  // What rounds to the next unit is written in it.
  while (Math.abs(rest) >= base - 0.5 && unit < units.length - 1) {
    rest /= base;
    unit++;
  }
  const digits = unit === 0 ? (rest < 10 ? 1 : 0) : rest < 10 ? 2 : rest < 100 ? 1 : 0;
  return `${trimmed(rest, digits)}${units[unit]}`;
}

function trimmed(value: number, digits: number): string {
  return String(Number(value.toFixed(digits)));
}

function pair(seconds: number, [large, name]: [number, string], small: [number, string]): string {
  const first = Math.floor(seconds / large);
  const second = Math.floor((seconds - first * large) / small[0]);
  return `${first} ${name}${second === 0 ? "" : ` ${second} ${small[1]}`}`;
}

function day(at: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}
