// Owns the drill command: options in, drills one after another, reports out, the exit code.
// Refuses to own drills (catalogue.ts) and reports (report.ts).
// Invariant: exit code 0 means that every drill passed; with --json standard output holds one JSON value or nothing.
import { lineConsole } from "./console.ts";
import { DRILL_HELP, type Options, parseOptions } from "./options.ts";
import { asTable, writeIndex, writeReport } from "./report.ts";
import { runDrill } from "./run_drill.ts";
import type { DrillReport } from "./types.ts";

const EXIT_NOT_PASSED = 1;
const EXIT_USAGE = 2;
/** Exit codes of a program that a signal ended. */
const EXIT_BY_SIGNAL = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

function readOptions(): Options | "help" {
  try {
    return parseOptions(Deno.args);
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${DRILL_HELP}`);
    Deno.exit(EXIT_USAGE);
  }
}

function list({ json, drills }: Options): void {
  if (json) {
    const described = drills.map(({ run: _, ...drill }) => drill);
    console.log(JSON.stringify(described, null, 2));
    return;
  }
  for (const { name, title, injects, repair, control } of drills) {
    console.log(
      `${name}: ${title}\n  injects  ${injects}\n  repair   ${repair}\n  control  ${control}`,
    );
  }
}

async function run(options: Options, signal: AbortSignal): Promise<readonly DrillReport[]> {
  const { json, drills, repairs, out } = options;
  const terminal = json ? Deno.stderr : Deno.stdout;
  const screen = lineConsole(
    json ? (line) => console.error(line) : (line) => console.log(line),
    terminal.isTerminal() && !Deno.noColor,
  );
  const reports: DrillReport[] = [];
  for (const [index, drill] of drills.entries()) {
    const place = `${index + 1} of ${drills.length}${repairs ? "" : ", repairs off"}`;
    screen.begin(drill.title, place);
    const report = await runDrill(drill, { repairs, signal, onEntry: screen.entry });
    reports.push(report);
    screen.end(report, await writeReport(out, report));
  }
  if (reports.length > 1) await writeIndex(out, reports);
  return reports;
}

function show({ json, repairs }: Options, reports: readonly DrillReport[]): number {
  const passed = reports.filter((report) => report.passed).length;
  if (json) {
    console.log(JSON.stringify(reports.length === 1 ? reports[0] : reports, null, 2));
  } else {
    console.log(`\n${asTable(reports, Deno.stdout.isTerminal() && !Deno.noColor)}`);
    console.log(`${passed} of ${reports.length} passed`);
    if (!repairs && passed === 0) console.log("with repairs off none may pass, and none did");
    if (!repairs && passed > 0) console.log("with repairs off none may pass: these show nothing");
  }
  return passed === reports.length ? 0 : EXIT_NOT_PASSED;
}

async function main(options: Options): Promise<number> {
  const interrupt = new AbortController();
  let code: number = EXIT_NOT_PASSED;
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => {
      code = EXIT_BY_SIGNAL[signal];
      interrupt.abort(new Error(signal));
    });
  }
  try {
    return show(options, await run(options, interrupt.signal));
  } catch (error) {
    console.error(`the drills ended early: ${(error as Error).message}`);
    return code;
  }
}

const options = readOptions();
if (options === "help") console.log(DRILL_HELP);
else if (options.command === "list") list(options);
else Deno.exit(await main(options));
