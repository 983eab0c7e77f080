// Owns showing a drill while it goes on: a line for each thing that happens.
// Refuses to own what happens (timeline.ts) and the result (report.ts).
// Invariant: nothing that colours is written to anything but a terminal, nor when NO_COLOR is set.
import type { DrillReport, TimelineEntry, TimelineKind } from "./types.ts";

const TONES: Readonly<Record<TimelineKind, string>> = {
  step: "2",
  fault: "31",
  alert: "33",
  runbook: "36",
  repair: "35",
  recovered: "32",
};
const KIND_WIDTH = 10;

export interface Console {
  begin(title: string, place: string): void;
  entry(entry: TimelineEntry): void;
  end(report: DrillReport, path: string): void;
}

/** Lines through `write`; `colour` only where that is a terminal. */
export function lineConsole(write: (line: string) => void, colour: boolean): Console {
  const paint = (tone: string, text: string) => colour ? `\x1b[${tone}m${text}\x1b[0m` : text;
  return {
    begin: (title, place) => write(`\n${paint("1", title)} ${paint("2", place)}`),
    entry: ({ atMs, kind, text }) =>
      write(
        `${(atMs / 1000).toFixed(1).padStart(6)} s  ` +
          `${paint(TONES[kind], kind.padEnd(KIND_WIDTH))}${text}`,
      ),
    end: ({ passed, failures }, path) => {
      write(passed ? paint("1;32", "PASSED") : paint("1;31", "FAILED"));
      for (const failure of failures) write(`  ${failure}`);
      write(paint("2", `  ${path}`));
    },
  };
}
