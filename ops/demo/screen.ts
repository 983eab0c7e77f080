// Owns showing a run while it goes on: live bars on a terminal, plain lines now and then elsewhere.
// Refuses to own what is shown (progress.ts) and the result (report.ts).
// Invariant: no control sequence is written to anything but a terminal, and none that colours when NO_COLOR is set.
import cliProgress from "cli-progress";
import process from "node:process";
import type { MemberProgress, Progress } from "./progress.ts";

export interface Screen {
  /** Something happened. */
  event(text: string, kind?: "plain" | "fault" | "good"): void;
  /** How things stand; shown as often as suits the screen. */
  show(progress: Progress): void;
  /** Leaves the terminal as it was found. Safe to call again. */
  close(): void;
}

const BAR_WIDTH = 30;
const LABEL_WIDTH = 10;
const LINE_EVERY_MS = 2_000;
const CLEAR_TO_END = "\x1b[K";

/** As much of cli-progress as is used; it has no types. */
interface Bars {
  create(total: number, value: number, payload: object, options: { format: string }): Bar;
  log(text: string): void;
  update(): void;
  stop(): void;
}
interface Bar {
  update(value: number, payload: object): void;
}

/** Bars at the bottom of a terminal, events above them. */
export class LiveScreen implements Screen {
  readonly #bars: Bars;
  readonly #rows = new Map<string, Bar>();
  readonly #started = performance.now();
  #open = true;

  constructor(readonly colour: boolean) {
    this.#bars = new cliProgress.MultiBar({
      stream: process.stdout,
      fps: 10,
      barsize: BAR_WIDTH,
      barCompleteChar: "█",
      barIncompleteChar: "░",
      hideCursor: true,
      forceRedraw: true,
      emptyOnZero: true,
    });
  }

  event(text: string, kind: "plain" | "fault" | "good" = "plain"): void {
    const tone = kind === "fault" ? "31" : kind === "good" ? "32" : "";
    const line = `${this.#paint("2", elapsed(this.#started))}  ${this.#paint(tone, text)}`;
    if (this.#open) this.#bars.log(line + CLEAR_TO_END + "\n");
    else console.log(line);
  }

  show(progress: Progress): void {
    if (!this.#open) return;
    const { total, published, perSecond, consumed, members } = progress;
    const rate = `${count(published)} of ${count(total)}, ${count(perSecond)}/s`;
    this.#row("published", { value: published, total, note: rate, tone: "36" });
    const note = `${count(consumed)} of ${count(total)}`;
    this.#row("consumed", { value: consumed, total, note, tone: "32" });
    for (const member of members) {
      const { name, received } = member;
      const tone = member.state === "killed" ? "31" : "33";
      this.#row(name, { value: Math.min(received, total), total, note: doing(member), tone });
    }
    this.#row("lag", { value: 0, total, note: lagText(progress), tone: "" });
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    if (this.#rows.size > 0) {
      // Events that wait to be shown are shown with the last picture.
      this.#bars.update();
      this.#bars.stop();
    }
  }

  #row(name: string, row: { value: number; total: number; note: string; tone: string }): void {
    const isPainted = this.colour && row.tone !== "";
    const [on, off] = isPainted ? [`\x1b[${row.tone}m`, "\x1b[0m"] : ["", ""];
    const payload = { note: row.note + CLEAR_TO_END, on, off };
    const known = this.#rows.get(name);
    if (known !== undefined) return known.update(row.value, payload);
    const label = name.padEnd(LABEL_WIDTH);
    const bar = row.tone === "" ? "" : "{on}{bar}{off}  ";
    const format = `  ${label} ${bar}{note}`;
    this.#rows.set(name, this.#bars.create(row.total, row.value, payload, { format }));
  }

  #paint(tone: string, text: string): string {
    return this.colour && tone !== "" ? `\x1b[${tone}m${text}\x1b[0m` : text;
  }
}

/** One line an event, and one every other second. */
export class LineScreen implements Screen {
  readonly #started = performance.now();
  #shownAt = 0;

  constructor(readonly write: (line: string) => void) {}

  event(text: string): void {
    this.write(`${elapsed(this.#started)}  ${text}`);
  }

  show(progress: Progress): void {
    const now = performance.now();
    if (now - this.#shownAt < LINE_EVERY_MS) return;
    this.#shownAt = now;
    const { total, published, consumed, members, lag, totalLag } = progress;
    const behind = lag.filter((each) => each.lag > 0).map((each) =>
      `p${each.partition} ${each.lag}`
    );
    const where = behind.length === 0 ? "" : ` (${behind.join(", ")})`;
    const each = members.map(({ name, received }) => `${name} ${count(received)}`).join(", ");
    this.event(
      `published ${count(published)} of ${count(total)}, consumed ${count(consumed)} ` +
        `(${each}), lag ${totalLag ?? "not known yet"}${where}`,
    );
  }

  close(): void {}
}

function doing({ received, state, partitions }: MemberProgress): string {
  const held = partitions.length === 0 ? "" : `, partitions ${partitions.join(" ")}`;
  return `${count(received)}${state === "running" ? held : `, ${state}`}`;
}

function lagText({ lag, totalLag }: Progress): string {
  if (totalLag === null) return "not known yet";
  const each = lag.map(({ partition, lag }) => `p${partition} ${String(lag).padEnd(4)}`).join(" ");
  return `${count(totalLag)} in all:`.padEnd(14) + each.trimEnd();
}

function elapsed(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1).padStart(5)} s`;
}

/** With a comma every three digits. */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}
