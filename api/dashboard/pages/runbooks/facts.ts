// Owns how what an execution found is told: names as words, times as times, durations with units, offsets by partition.
// Refuses to own what runbooks find. Invariant: pure; what it does not know is told as it is, never left out.
import { count, dateTime, duration } from "../../format.ts";

export interface ToldFact {
  readonly name: string;
  /** One at least. */
  readonly lines: readonly string[];
}

/** Wall times of about 2001 to 2100, ms: smaller numbers of such a name are no times. */
const MIN_TIME_MS = 1e12;
const MAX_TIME_MS = 4.1e12;

const TIME_NAME = /^(at|since|until|from|.*(At|Since|Until))$/;
const MS_NAME = /Ms$/;
const SECONDS_NAME = /Seconds$/;

/** Whether a parameter or fact of this name is a time. */
export function isTimeName(name: string): boolean {
  return TIME_NAME.test(name);
}

/** What was found, as people read it. */
export function factsTold(found: Readonly<Record<string, unknown>>): ToldFact[] {
  return Object.entries(found).map(([name, value]) => {
    const isMs = MS_NAME.test(name) && isNumeric(value);
    return { name: wordsOf(isMs ? name.replace(MS_NAME, "") : name), lines: linesOf(name, value) };
  });
}

/** `recoveryPoint` is told as `recovery point`. */
function wordsOf(name: string): string {
  return name.replaceAll(
    /([a-z])([A-Z])/g,
    (_, before, after) => `${before} ${after.toLowerCase()}`,
  );
}

function linesOf(name: string, value: unknown): string[] {
  if (Array.isArray(value)) return value.length === 0 ? ["none"] : value.map(entryText);
  if (isTimeName(name)) {
    const at = typeof value === "string" && isNumeric(value) ? Number(value) : value;
    if (typeof at === "number" && at >= MIN_TIME_MS && at < MAX_TIME_MS) return [dateTime(at)];
  }
  if (isNumeric(value)) {
    if (MS_NAME.test(name)) return [duration(Number(value) / 1_000)];
    if (SECONDS_NAME.test(name)) return [duration(Number(value))];
  }
  if (typeof value === "number" && Number.isInteger(value)) return [count(value)];
  return [text(value)];
}

/** Offsets are noted as [topic, partition, offset]. */
function entryText(entry: unknown): string {
  if (Array.isArray(entry) && entry.length === 3) {
    const [topic, partition, offset] = entry;
    if (typeof topic === "string" && typeof partition === "number" && typeof offset === "number") {
      return `${topic} ${partition}: offset ${count(offset)}`;
    }
  }
  return text(entry);
}

function text(value: unknown): string {
  if (value === null) return "none";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function isNumeric(value: unknown): value is number | string {
  return typeof value === "number" || (typeof value === "string" && /^\d+$/.test(value));
}
