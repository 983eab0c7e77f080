// Owns how results look: tables and lists of fields for people, JSON for programs, colour for terminals alone.
// Refuses to own what is shown.
// Invariant: with --json standard output holds JSON and nothing else; control characters of others reach no terminal.
import Table from "cli-table3";
import type { Terminal } from "./terminal.ts";

/** A cell longer than this is cut, in tables only. */
const MAX_CELL_CHARS = 80;
const RED_STATES = new Set(["stalled", "firing", "failed", "offline", "aborted", "P1", "fail"]);
const YELLOW_STATES = new Set([
  "lagging",
  "pending",
  "paused",
  "unassigned",
  "P2",
  "warn",
  "partial",
]);
const GREEN_STATES = new Set(["ok", "online", "stable", "completed", "resolved", "verified"]);

/** Control characters, line ends, and those that turn the direction of text. */
const STEERING = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

export type Cell = string | number | boolean | null | undefined;

export class Output {
  constructor(
    private readonly terminal: Terminal,
    readonly isJson: boolean,
    readonly isColoured: boolean,
  ) {}

  /** `value` as JSON, or what `show` makes for people. */
  async result(value: unknown, show: () => string | readonly string[]): Promise<void> {
    if (this.isJson) return await this.terminal.write(`${json(value, 2)}\n`);
    const shown = show();
    const lines = typeof shown === "string" ? [shown] : shown;
    await this.terminal.write(`${lines.join("\n")}\n`);
  }

  /** A line of NDJSON, or of text, for each of `values`. */
  async lines<T>(values: readonly T[], textOf: (value: T) => string): Promise<void> {
    if (values.length === 0) return;
    const lines = values.map((value) => this.isJson ? json(value) : textOf(value));
    await this.terminal.write(`${lines.join("\n")}\n`);
  }

  /** A remark for people, a line on standard error; none with --json. */
  remark(text: string): void {
    if (!this.isJson) this.terminal.tell(printable(text));
  }

  table(head: readonly string[], rows: readonly (readonly Cell[])[], empty = "none"): string {
    if (rows.length === 0) return empty;
    const table = new Table({
      head: head.map((text) => this.#paint("1", text)),
      style: { head: [], border: [], "padding-left": 0, "padding-right": 2 },
      chars: BARE,
      colAligns: head.map((_, column) =>
        rows.every((row) => isFigure(row[column])) ? "right" : "left"
      ),
    });
    for (const row of rows) table.push(row.map((cell) => this.#cell(cell)));
    return table.toString().split("\n").map((line) => line.trimEnd()).join("\n");
  }

  /** Names and values, a line each. */
  fields(fields: readonly (readonly [string, Cell])[]): string {
    const width = Math.max(...fields.map(([name]) => name.length));
    return fields.map(([name, value]) =>
      `${this.#paint("1", name.padEnd(width))}  ${this.#cell(value, Infinity)}`
    ).join("\n");
  }

  #cell(value: Cell, maxChars = MAX_CELL_CHARS): string {
    if (value === null || value === undefined || value === "") return "-";
    const text = printable(String(value));
    const cut = text.length > maxChars ? `${text.slice(0, maxChars - 1)}…` : text;
    if (RED_STATES.has(text)) return this.#paint("31", cut);
    if (YELLOW_STATES.has(text)) return this.#paint("33", cut);
    return GREEN_STATES.has(text) ? this.#paint("32", cut) : cut;
  }

  #paint(tone: string, text: string): string {
    return this.isColoured ? `\x1b[${tone}m${text}\x1b[0m` : text;
  }
}

function isFigure(cell: Cell): boolean {
  return typeof cell === "number" || cell === null || cell === undefined ||
    /^[\d,]+$/.test(String(cell));
}

const BARE = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "",
};

/** `text` with control characters as escapes: what others published must not steer this terminal. */
export function printable(text: string): string {
  return text.replace(
    STEERING,
    (found) => found === "\n" ? "\\n" : escaped(found),
  );
}

/** `value` as JSON that steers no terminal either: JSON itself escapes only some of these characters. */
export function json(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(
    STEERING,
    // Outside of texts JSON holds none of them but the line ends of its indentation.
    (found) => found === "\n" ? found : escaped(found),
  );
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Wall time in ms as RFC 3339, in seconds. */
export function time(ms: number | null | undefined): string | null {
  if (ms === null || ms === undefined || !(ms >= 0)) return null;
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}

export function count(value: number | null | undefined): string | null {
  return value === null || value === undefined ? null : value.toLocaleString("en-US");
}

/** So many of them: "1 group", "2 groups". */
export function counted(value: number, one: string, several = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : several}`;
}

export function bytes(value: number | null | undefined): string | null {
  if (value === null || value === undefined) return null;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let [size, unit] = [value, 0];
  for (; size >= 1_024 && unit < units.length - 1; unit++) size /= 1_024;
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}

export function seconds(value: number | null | undefined): string | null {
  if (value === null || value === undefined) return null;
  const whole = Math.round(value);
  if (whole < 120) return `${whole} s`;
  if (whole >= 7_200) return `${(whole / 3_600).toFixed(1)} h`;
  const rest = whole % 60;
  return `${Math.floor(whole / 60)} min${rest === 0 ? "" : ` ${rest} s`}`;
}
