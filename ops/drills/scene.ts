// Owns what a drill plays with: the broker, the watch over its loop, ways to ask and to wait, and putting all of it away.
// Refuses to own what any drill does. Invariant: every wait has a bound, and what was opened is closed however the drill ends.
import { WaybillClient } from "../../api/client.ts";
import { BrokerApi } from "../cli/broker_api.ts";
import { pause, until, WaitedInVain } from "../demo/waiting.ts";
import type { FaultOrder } from "../faults/fault_orders.ts";
import { BrokerStage } from "./broker_stage.ts";
import { LoopWatch } from "./loop_watch.ts";
import { Timeline } from "./timeline.ts";
import type { TimelineEntry, TimelineKind } from "./types.ts";

/** The broker with a disk and a clock that can be made faulty. */
const WITH_FAULTS = "ops/faults/broker_with_faults.ts";
/** Its large publishes are prepared where its clock is, too. */
const FAULTY_ARGS = ["--publish-threads=0"];
/** Nobody waits for a group that comes together in a drill. */
const QUICK_GROUPS = ["--group-initial-delay-ms=200", "--group-reconnect-grace-ms=300"];

/** What nobody repairs is not waited for as long as what somebody does. */
const CONTROL_LIMIT_MS = 8_000;

export interface SceneOptions {
  readonly repairs: boolean;
  /** Aborted when the drill is to end early. */
  readonly signal: AbortSignal;
  readonly onEntry: (entry: TimelineEntry) => void;
}

/** Settings of a threshold that differ from a drill's: fires after a second, and is clear after one. */
export interface ShortThreshold {
  readonly limit: number;
  readonly severity?: "P1" | "P2" | "P3";
  readonly runbook?: string | null;
  readonly windowSeconds?: number;
  readonly forSeconds?: number;
  readonly clearForSeconds?: number;
  readonly clearLimit?: number;
}

export class Scene {
  readonly timeline: Timeline;
  readonly watch: LoopWatch;
  /** Aborted when the drill is over, or is to end early. */
  readonly signal: AbortSignal;
  readonly #over = new AbortController();
  readonly #closers: (() => Promise<void>)[] = [];
  #adminToken: string | null = null;
  #watching: Promise<void> = Promise.resolve();

  private constructor(
    private readonly options: SceneOptions,
    readonly stage: BrokerStage,
    timeline: Timeline,
  ) {
    this.timeline = timeline;
    this.signal = AbortSignal.any([options.signal, this.#over.signal]);
    this.watch = new LoopWatch({
      url: () => stage.isRunning ? stage.url : null,
      token: () => this.#adminToken,
      timeline,
      signal: this.signal,
    });
  }

  static async open(options: SceneOptions): Promise<Scene> {
    const timeline = new Timeline(() => performance.now(), options.onEntry);
    return new Scene(options, await BrokerStage.open(timeline), timeline);
  }

  /** False: what repairs is switched off, and the drill is to fail. */
  get repairs(): boolean {
    return this.options.repairs;
  }

  /** Starts the broker, with runbooks as the drill is run, and watches its loop from then on. */
  async startBroker(
    start: { args?: readonly string[]; faulty?: boolean; adminToken?: string } = {},
  ): Promise<void> {
    const { args = [], faulty = false, adminToken } = start;
    this.#adminToken = adminToken ?? null;
    const mode = this.repairs ? "auto" : "off";
    await this.stage.start({
      ...(faulty ? { entry: WITH_FAULTS } : {}),
      args: [
        ...QUICK_GROUPS,
        `--runbook-mode=${mode}`,
        ...(faulty ? FAULTY_ARGS : []),
        ...(adminToken === undefined ? [] : [`--admin-token=${adminToken}`]),
        ...args,
      ],
    });
    this.tell("step", `the broker runs, process ${this.stage.pid}`);
    this.#watching = this.watch.run();
  }

  /** One who asks as an operator does. */
  api(): BrokerApi {
    return new BrokerApi({ url: this.#url(), token: this.#adminToken }, {
      now: () => performance.now(),
      pause: (ms) => pause(ms, this.signal),
      interrupted: this.signal,
    });
  }

  /** The administrator's, or of whoever has `token`. */
  client(token = this.#adminToken): WaybillClient {
    const client = new WaybillClient({
      url: this.#url(),
      ...(token === null ? {} : { token }),
    });
    this.onClose(() => client.close());
    return client;
  }

  /** Closed when the drill is over, the last one first. */
  onClose(close: () => Promise<void>): void {
    this.#closers.push(close);
  }

  tell(kind: TimelineKind, text: string): void {
    this.timeline.add(kind, text);
  }

  /** Sets a threshold, with shortened durations. */
  async setThreshold(name: string, short: ShortThreshold): Promise<void> {
    const body = {
      severity: "P1",
      forSeconds: 1,
      windowSeconds: 0,
      clearForSeconds: 1,
      runbook: null,
      ...short,
      enabled: true,
      mode: "auto",
    };
    await this.api().json("PUT", `/api/thresholds/${name}`, { body });
    const runbook = body.runbook === null ? "no runbook" : `runbook ${body.runbook}`;
    this.tell(
      "step",
      `threshold ${name}: above ${body.limit} for ${body.forSeconds} s, ${runbook}`,
    );
  }

  /** Injects the fault; gives back when, monotonic ms. */
  async inject(what: string, how: () => void | Promise<void>): Promise<number> {
    const at = performance.now();
    this.tell("fault", what);
    await how();
    return at;
  }

  /** Makes the disk or the clock of a faulty broker faulty, or whole again. */
  order(order: FaultOrder): Promise<void> {
    return this.stage.tell(JSON.stringify(order));
  }

  /** Waits for what has to come, or the drill makes no sense. */
  until(condition: () => boolean, what: string, limitMs = 30_000): Promise<void> {
    return until(condition, { limitMs, signal: this.signal, what });
  }

  /** When `condition` held, ms since `sinceMs`; null when it did not within `limitMs`, with repairs off a short time. */
  async recovered(
    condition: () => boolean | Promise<boolean>,
    { sinceMs, limitMs: longestMs, what, isPatient = false }: {
      sinceMs: number;
      limitMs: number;
      what: string;
      /** With repairs off it is waited for as long. */
      isPatient?: boolean;
    },
  ): Promise<number | null> {
    const limitMs = this.repairs || isPatient ? longestMs : Math.min(longestMs, CONTROL_LIMIT_MS);
    const givenUpAt = performance.now() + limitMs;
    while (!await condition()) {
      if (performance.now() > givenUpAt) {
        this.tell("step", `waited ${(limitMs / 1_000).toFixed(0)} s in vain for ${what}`);
        return null;
      }
      await pause(50, this.signal);
    }
    const tookMs = Math.round(performance.now() - sinceMs);
    this.tell("recovered", `${what}: ${(tookMs / 1_000).toFixed(2)} s after the fault`);
    return tookMs;
  }

  /** As `recovered`, where a missing end is no failure by itself. */
  async settled(condition: () => boolean, what: string, limitMs: number): Promise<boolean> {
    try {
      await until(condition, { limitMs, signal: this.signal, what });
      return true;
    } catch (error) {
      if (!(error instanceof WaitedInVain)) throw error;
      this.tell("step", error.message);
      return false;
    }
  }

  pause(ms: number): Promise<void> {
    return pause(ms, this.signal);
  }

  async close(): Promise<void> {
    await this.watch.look().catch(() => undefined);
    this.#over.abort(new Error("the drill is over"));
    await this.#watching.catch(() => undefined);
    for (const close of this.#closers.toReversed()) await close().catch(() => undefined);
    await this.stage.close();
  }

  #url(): string {
    if (this.stage.url === null) throw new Error("the broker was not started yet");
    return this.stage.url;
  }
}
