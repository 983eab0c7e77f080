// Owns the drill command: options in, drills one after another, reports out, the exit code.
// Refuses to own drills (catalogue.ts) and reports (report.ts).
// Invariant: exit code 0 means that every drill passed; with --json standard output holds one JSON value or nothing.
import { ClusterStage } from "./cluster/cluster_stage.ts";
import { runClusterDrill } from "./cluster/run_cluster_drill.ts";
import { lineConsole } from "./console.ts";
import { DRILL_HELP, type Options, parseOptions } from "./options.ts";
import { asTable, writeIndex, writeReport } from "./report.ts";
import { runDrill } from "./run_drill.ts";
import type { DrillReport, TimelineEntry } from "./types.ts";

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

function list({ json, drills, clusterDrills }: Options): void {
  const described = [
    ...drills.map(({ run: _, ...drill }) => drill),
    ...clusterDrills.map(({ run: _, ...drill }) => ({ ...drill, name: `cluster ${drill.name}` })),
  ];
  if (json) {
    console.log(JSON.stringify(described, null, 2));
    return;
  }
  for (const { name, title, injects, repair, control } of described) {
    console.log(
      `${name}: ${title}\n  injects  ${injects}\n  repair   ${repair}\n  control  ${control}`,
    );
  }
}

/** What is to be run, and how: drills of one broker, or of a cluster. */
function runs({ drills, clusterDrills, repairs, cluster }: Options) {
  type Watched = { readonly signal: AbortSignal; readonly onEntry: (entry: TimelineEntry) => void };
  return [
    ...drills.map((drill) => ({
      title: drill.title,
      note: repairs ? "" : ", repairs off",
      run: (watched: Watched) => runDrill(drill, { repairs, ...watched }),
    })),
    ...clusterDrills.map((drill) => ({
      title: drill.title,
      note: cluster.acks === "all" ? "" : `, acks ${cluster.acks}`,
      run: (watched: Watched) => runClusterDrill(drill, { ...cluster, ...watched }),
    })),
  ];
}

async function run(options: Options, signal: AbortSignal): Promise<readonly DrillReport[]> {
  const { json, clusterDrills } = options;
  const out = clusterDrills.length > 0 ? `${options.out}/cluster` : options.out;
  const terminal = json ? Deno.stderr : Deno.stdout;
  const screen = lineConsole(
    json ? (line) => console.error(line) : (line) => console.log(line),
    terminal.isTerminal() && !Deno.noColor,
  );
  const reports: DrillReport[] = [];
  const all = runs(options);
  for (const [index, { title, note, run }] of all.entries()) {
    screen.begin(title, `${index + 1} of ${all.length}${note}`);
    const report = await run({ signal, onEntry: screen.entry });
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
  const why = options.clusterDrills.length === 0 ? null : await ClusterStage.impossible();
  if (why !== null) {
    console.error(`cluster drills cannot run here: ${why}`);
    return EXIT_USAGE;
  }
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
