// Owns how the parts of a broker's process report to its log: levels, words, and how much of an error is shown.
// Refuses to own the log's lines (../logging.ts) and what is worth reporting.
// Invariant: a fault of the broker's own keeps its stack; of a refusal its words are enough.
import type { RuntimeEvent } from "../../actors/runtime/reports.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Logger } from "../logging.ts";

export interface Report {
  readonly level: "info" | "warning" | "error";
  readonly message: string;
  readonly error?: unknown;
}

export type Reporter = (report: Report) => void;

/** Writes reports to the log, a line each. */
export function reporterTo(logger: Logger): Reporter {
  return ({ level, message, error }) => {
    const cause = error === undefined ? "" : `: ${errorText(error)}`;
    logger[level]("{said}", { said: `${message}${cause}` });
  };
}

export function reportRuntime(logger: Logger, event: RuntimeEvent): void {
  const { type, ...details } = event;
  const shown = Object.entries(details)
    .map(([name, value]) => `${name}=${name === "error" ? errorText(value) : value}`).join(" ");
  const quiet = type === "snapshot.saved" || type === "actor.loaded";
  logger[quiet ? "debug" : "warning"]("{shown}", { shown: `${type} ${shown}` });
}

/** With its causes. Stacks are for faults of the broker's own: what a BrokerError says is enough. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const causes: unknown[] = error instanceof AggregateError ? [...error.errors] : [];
  if (error.cause !== undefined) causes.push(error.cause);
  const expected = error instanceof BrokerError && error.code !== "INTERNAL";
  if (expected) {
    return [`${error.code}: ${error.message}`, ...causes.map(reasonOf)].join(", because: ");
  }
  const because = causes.length === 0 ? "" : `\nbecause: ${causes.map(errorText).join("\nand: ")}`;
  return `${error.stack ?? error.message}${because}`;
}

/** Of those who report what other machines did: their words and causes are enough, and no fault of the broker's own. */
export function wordsTo(report: Reporter): Reporter {
  return ({ level, message, error }) => {
    const words: string[] = [];
    for (let at = error; at !== undefined; at = at instanceof Error ? at.cause : undefined) {
      if (!words.includes(reasonOf(at))) words.push(reasonOf(at));
    }
    report({ level, message: [message, ...words].join(": ") });
  };
}

/** What an operator needs of a refusal by the system. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
