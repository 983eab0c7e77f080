// Owns `deno task sim`: runs seeds one after the other and shows what came of them.
// Refuses to own a run (run_seed.ts). Invariant: exit code 0 only when no seed broke a rule, 1 when one did, 2 for a bad call.
import { parseArgs } from "node:util";
import { addResult, newTotals, progressLine, report, summary } from "./report.ts";
import { type RunnableScene, sceneNamed } from "./scenes.ts";

const USAGE =
  `deno task sim [--scene NAME] [--seed N] [--seeds COUNT] [--seconds S] [--mutant NAME] [--json]

  --scene NAME    what is simulated (default: cluster):
                    cluster    several brokers, whole
                    replicas   several brokers that keep copies of partitions, without actors
                    decisions  several brokers that elect leaders, without logs
                    broker     one broker, whole, with the real log on a simulated disk
  --seed N        first seed (default: drawn from the clock)
  --seeds COUNT   how many seeds to run (default: 1 with --seed, else 100)
  --seconds S     stop starting new seeds after so many seconds
  --mutant NAME   run a broker that is known to be bad; a violation is then what one hopes for
  --events COUNT  events of the trace to show with a violation (default: 60)
  --json          one JSON object a seed instead of text`;
const DEFAULT_SCENE = "cluster";
const DEFAULT_SEEDS = 100;
const DEFAULT_EVENTS = 60;
/** Seeds are 32 bits wide. */
const MAX_SEED = 2 ** 32 - 1;

interface Options {
  readonly scene: RunnableScene;
  readonly seed: number;
  readonly seeds: number;
  readonly seconds: number;
  readonly mutant: string | null;
  readonly events: number;
  readonly json: boolean;
}

function optionsOf(args: string[]): Options | null {
  const { values } = parseArgs({
    args,
    options: {
      scene: { type: "string", default: DEFAULT_SCENE },
      seed: { type: "string" },
      seeds: { type: "string" },
      seconds: { type: "string" },
      mutant: { type: "string" },
      events: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return null;
  const drawn = Math.floor(Date.now() / 1_000) % MAX_SEED;
  const defaultSeeds = values.seed === undefined ? DEFAULT_SEEDS : 1;
  const unlimited = values.seconds === undefined ? defaultSeeds : MAX_SEED;
  const scene = sceneNamed(values.scene);
  return {
    scene,
    seed: wholeNumber("seed", values.seed, drawn),
    seeds: wholeNumber("seeds", values.seeds, unlimited),
    seconds: wholeNumber("seconds", values.seconds, MAX_SEED),
    mutant: values.mutant === undefined ? null : knownMutant(scene, values.mutant),
    events: wholeNumber("events", values.events, DEFAULT_EVENTS),
    json: values.json,
  };
}

function knownMutant({ name, mutants }: RunnableScene, mutant: string): string {
  if (mutants.includes(mutant)) return mutant;
  throw new Error(`no mutant ${mutant} in scene ${name}; there are ${mutants.join(", ")}`);
}

function wholeNumber(name: string, given: string | undefined, otherwise: number): number {
  if (given === undefined) return otherwise;
  const value = Number(given);
  if (Number.isInteger(value) && value >= 0 && value <= MAX_SEED) return value;
  throw new Error(`--${name} is a whole number from 0 to ${MAX_SEED}, not ${given}`);
}

/** Whether every seed kept every rule. */
async function runAll(options: Options): Promise<boolean> {
  const { scene, seed: first, seeds, seconds, mutant, events: tailEvents, json } = options;
  const startedAt = performance.now();
  const isLive = !json && Deno.stdout.isTerminal();
  const totals = newTotals();
  for (let index = 0; index < seeds; index++) {
    if (performance.now() - startedAt > seconds * 1_000) break;
    const result = await scene.run(first + index, { mutant, tailEvents });
    addResult(totals, result);
    totals.realMs = performance.now() - startedAt;
    const isBad = result.violations.length > 0;
    if (json) {
      const { tail, ...short } = result;
      console.log(JSON.stringify(isBad ? { ...short, tail } : short));
    } else {
      if (isLive) write(progressLine(totals, first + index));
      if (isBad) write(report(result));
    }
    if (isBad) break;
  }
  if (!json) write(summary(totals, first));
  return totals.violated === 0;
}

function write(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

try {
  const options = optionsOf(Deno.args);
  if (options === null) write(`${USAGE}\n`);
  else if (!await runAll(options)) Deno.exitCode = 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  console.error(USAGE);
  Deno.exitCode = 2;
}
