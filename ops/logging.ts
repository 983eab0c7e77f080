// Owns how the broker logs: lines on standard error, as text or JSON, at a level.
// Refuses to own what is worth saying (the callers) and metrics.
// Invariant: standard output carries the ready line only; no colour unless standard error is a terminal.
import {
  ansiColorFormatter,
  configure,
  defaultTextFormatter,
  getLogger,
  jsonLinesFormatter,
  type Logger,
  type LogLevel,
  type LogRecord,
} from "@logtape/logtape";

export type { Logger };

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
    ? ansiColorFormatter
    : defaultTextFormatter;
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
