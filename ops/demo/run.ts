// Owns one whole run: the cast is put together, the story told, the end awaited, the evidence judged.
// Refuses to own how it is shown (screen.ts, report.ts) and the command line (main.ts).
// Invariant: the verdict rests on what the producer was told and what members wrote down, nothing else.
import { WaybillClient } from "../../api/client.ts";
import { loadFlights } from "./flights.ts";
import { GroupWatch } from "./group_watch.ts";
import type { DemoOptions } from "./options.ts";
import { type MemberProgress, type Progress, Speed, Tally } from "./progress.ts";
import { prove } from "./proof.ts";
import { Publisher } from "./publisher.ts";
import type { Outcome } from "./report.ts";
import { count, type Screen } from "./screen.ts";
import { Stage } from "./stage.ts";
import { type Accidents, type Cast, tellStory } from "./story.ts";
import { pause, until } from "./waiting.ts";

const TOPIC = "flights";
const GROUP = "demo";
const PARTITIONS = 6;
const MEMBERS = ["member-1", "member-2", "member-3"];
const VICTIM = "member-2";
const REFRESH_MS = 50;
const START_LIMIT_MS = 60_000;
/** The end is given up when nothing has arrived or been committed for so long. */
const STALLED_AFTER_MS = 20_000;
/** The group is short of patience in a fast run, so that a test need not wait for it. */
const FAST_BROKER = ["--group-reconnect-grace-ms=300", "--group-initial-delay-ms=200"];

/** Runs the demo; rejects with the signal's reason when that is aborted. Leaves no process and no file behind. */
export async function runDemo(
  options: DemoOptions,
  screen: Screen,
  signal: AbortSignal,
): Promise<Outcome> {
  const accident = new AbortController();
  const either = AbortSignal.any([signal, accident.signal]);
  const stage = await Stage.open({
    topic: TOPIC,
    group: GROUP,
    brokerArgs: options.fast ? FAST_BROKER : [],
    onAccident: (reason) => accident.abort(new Error(reason)),
  });
  try {
    return await new Run(options, { stage, screen, signal: either }).toTheEnd();
  } finally {
    accident.abort(new Error("the run is over"));
    await stage.close();
  }
}

class Run {
  readonly #started = performance.now();
  readonly #options: DemoOptions;
  readonly #stage: Stage;
  readonly #screen: Screen;
  readonly #signal: AbortSignal;
  readonly #tally = new Tally();
  readonly #speed = new Speed();

  constructor(options: DemoOptions, parts: { stage: Stage; screen: Screen; signal: AbortSignal }) {
    this.#options = options;
    this.#stage = parts.stage;
    this.#screen = parts.screen;
    this.#signal = parts.signal;
  }

  async toTheEnd(): Promise<Outcome> {
    const flights = await loadFlights();
    const cast = await this.#assemble(flights);
    const { publisher, watch } = cast;
    const background = [watch.run(), this.#refresh(cast)];
    // An error of the background is told where it is awaited; the run ends by its own waits.
    const failed = Promise.all(background);
    failed.catch(() => undefined);
    try {
      await this.#awaitGroup(cast);
      const accidents = await this.#publish(cast);
      await this.#awaitConsumers(cast);
      return await this.#judge(cast, { flights, accidents });
    } finally {
      await publisher.close(0).catch(() => undefined);
    }
  }

  async #assemble(flights: Awaited<ReturnType<typeof loadFlights>>): Promise<Cast> {
    const stage = this.#stage;
    const screen = this.#screen;
    const signal = this.#signal;
    const { startedInMs } = await stage.startBroker();
    screen.event(`broker started in ${Math.round(startedInMs)} ms on ${stage.url}`);
    const client = new WaybillClient({ url: stage.url });
    await client.topics.create({ name: TOPIC, partitions: PARTITIONS });
    for (const name of MEMBERS) stage.startMember(name);
    const { rate } = this.#options;
    return {
      stage,
      publisher: new Publisher(client.producer(), { topic: TOPIC, flights, rate, signal }),
      watch: new GroupWatch({
        url: stage.url,
        group: GROUP,
        signal,
        onRebalance: ({ generation, cause }) =>
          screen.event(`rebalance: generation ${generation} (${cause})`),
      }),
      tally: this.#tally,
      screen,
      total: flights.length,
      partitions: PARTITIONS,
      signal,
    };
  }

  async #awaitGroup({ watch, signal }: Cast): Promise<void> {
    const complete = () =>
      MEMBERS.every((name) => watch.assignment.get(name)?.length) && watch.settled;
    const what = "three members to share the partitions";
    await until(complete, { limitMs: START_LIMIT_MS, signal, what });
  }

  async #publish(cast: Cast): Promise<Accidents> {
    const { publisher, screen, total } = cast;
    screen.event(`publishing ${count(total)} flights, ${count(this.#options.rate)} a second`);
    const story = tellStory(cast, { victim: VICTIM, kills: this.#options.kills });
    const [accidents] = await Promise.all([story, publisher.run()]);
    const [failure] = publisher.failures;
    if (failure !== undefined) {
      const given = `${count(publisher.failures.length)} flights were given up, the first`;
      screen.event(`${given}: ${failure.reason}`, "fault");
    }
    screen.event(`all published: ${count(publisher.acknowledgements.length)} acknowledged`);
    return accidents;
  }

  /** Until all that was acknowledged has arrived and is committed, or nothing moves any more. */
  async #awaitConsumers({ publisher, watch, screen, signal }: Cast): Promise<void> {
    const acknowledged = publisher.acknowledgements.length;
    let before = "";
    let movedAt = performance.now();
    while (this.#tally.consumed < acknowledged || watch.totalLag !== 0) {
      const now = `${this.#tally.received} ${watch.totalLag}`;
      if (now !== before) movedAt = performance.now();
      before = now;
      if (performance.now() - movedAt > STALLED_AFTER_MS) {
        return screen.event("nothing arrives any more, though not all is there", "fault");
      }
      await pause(REFRESH_MS, signal);
    }
    screen.event("all consumed and committed");
  }

  async #judge(
    cast: Cast,
    { flights, accidents }: {
      flights: Awaited<ReturnType<typeof loadFlights>>;
      accidents: Accidents;
    },
  ): Promise<Outcome> {
    const { publisher, watch, stage } = cast;
    const finalLag = watch.totalLag;
    const rebalances = watch.generation;
    const durationMs = performance.now() - this.#started;
    watch.stop();
    await stage.letMembersLeave();
    await this.#read();
    this.#screen.show(this.#progress(cast));
    const { receipts } = stage.ledger;
    return {
      proof: prove({ flights, acknowledgements: publisher.acknowledgements, receipts }),
      accidents,
      deliveries: Object.fromEntries(MEMBERS.map((name) => [name, this.#tally.receivedBy(name)])),
      finalLag,
      rebalances,
      durationMs,
    };
  }

  #reading: Promise<void> = Promise.resolve();

  /** One reader at a time: the ledger has one place where it stands. */
  #read(): Promise<void> {
    return this.#reading = this.#reading.then(async () =>
      this.#tally.add(await this.#stage.ledger.readOn())
    );
  }

  async #refresh(cast: Cast): Promise<void> {
    while (!this.#signal.aborted) {
      await this.#read();
      this.#screen.show(this.#progress(cast));
      await pause(REFRESH_MS, this.#signal);
    }
  }

  #progress({ stage, publisher, watch, total }: Cast): Progress {
    const published = publisher.acknowledgements.length;
    return {
      total,
      published,
      perSecond: this.#speed.of(published, performance.now()),
      consumed: this.#tally.consumed,
      members: MEMBERS.map((name): MemberProgress => {
        const partitions = watch.assignment.get(name) ?? [];
        const ended = stage.members.get(name)!.hasEnded;
        const state = ended
          ? stage.members.get(name)!.wasKilled ? "killed" : "left"
          : partitions.length > 0
          ? "running"
          : "starting";
        return { name, received: this.#tally.receivedBy(name), state, partitions };
      }),
      lag: watch.lag,
      totalLag: watch.totalLag,
    };
  }
}
