// Owns how the broker logs: lines on standard error, as text or JSON, at a level.
// Refuses to own what is worth saying (the callers) and metrics.
// Invariant: standard output carries the ready line only; no colour unless standard error is a terminal; a record never
// looks like two.
import {
  configure,
  getAnsiColorFormatter,
  getLogger,
  getTextFormatter,
  jsonLinesFormatter,
  type Logger,
  type LogLevel,
  type LogRecord,
} from "@logtape/logtape";

export type { Logger };

/** All but the line feed. */
// deno-lint-ignore no-control-regex -- control characters are what is looked for
const CONTROL_CHARACTERS = /[\0-\x09\x0b-\x1f\x7f-\x9f]/g;

export interface LoggingOptions {
  readonly level: LogLevel;
  readonly format: "text" | "json";
  readonly colour: boolean;
  /** Writes one whole line. */
  write(line: string): void;
}

/** Sets logging up for the whole process and returns the broker's logger. */
export async function startLogging(options: LoggingOptions): Promise<Logger> {
  const format = options.format === "json"
    ? jsonLinesFormatter
    : options.colour
    ? getAnsiColorFormatter({ value: shown })
    : getTextFormatter({ value: shown });
  await configure({
    reset: true,
    sinks: { stderr: (record: LogRecord) => options.write(format(record)) },
    loggers: [
      { category: "waybill", lowestLevel: options.level, sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["stderr"] },
    ],
  });
  return getLogger("waybill");
}

/**
 * Text as it is, for people: stacks on lines of their own. Indented, and without control characters, so that nothing a
 * client sends can look like a line of the log's own or speak to a terminal.
 */
function shown(value: unknown, inspect: (value: unknown) => string): string {
  if (typeof value !== "string") return inspect(value);
  return value.replaceAll("\n", "\n  ").replace(
    CONTROL_CHARACTERS,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
