// Owns what a drill plays with: the broker, the watch over its loop, ways to ask and to wait, and putting all of it away.
// Refuses to own what any drill does. Invariant: every wait has a bound, and what was opened is closed however the drill ends.
import { WaybillClient } from "../../api/client.ts";
import { BrokerApi } from "../cli/broker_api.ts";
import { pause } from "../demo/waiting.ts";
import type { FaultOrder } from "../faults/fault_orders.ts";
import { Acting, type ActingOptions, type RecoveryWait } from "./acting.ts";
import { BrokerStage } from "./broker_stage.ts";
import { LoopWatch } from "./loop_watch.ts";
import type { Timeline } from "./timeline.ts";

/** The broker with a disk and a clock that can be made faulty. */
const WITH_FAULTS = "ops/faults/broker_with_faults.ts";
/** Its large publishes are prepared where its clock is, too. */
const FAULTY_ARGS = ["--publish-threads=0"];
/** Nobody waits for a group that comes together in a drill. */
const QUICK_GROUPS = ["--group-initial-delay-ms=200", "--group-reconnect-grace-ms=300"];

/** What nobody repairs is not waited for as long as what somebody does. */
const CONTROL_LIMIT_MS = 8_000;

export interface SceneOptions extends ActingOptions {
  readonly repairs: boolean;
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

export class Scene extends Acting {
  readonly watch: LoopWatch;
  #adminToken: string | null = null;
  #watching: Promise<void> = Promise.resolve();

  private constructor(
    private readonly options: SceneOptions,
    readonly stage: BrokerStage,
    timeline: Timeline,
  ) {
    super(timeline, options.signal);
    this.watch = new LoopWatch({
      url: () => stage.isRunning ? stage.url : null,
      token: () => this.#adminToken,
      timeline,
      signal: this.signal,
    });
  }

  static async open(options: SceneOptions): Promise<Scene> {
    const timeline = Acting.timeline(options.onEntry);
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

  /** Makes the disk or the clock of a faulty broker faulty, or whole again. */
  order(order: FaultOrder): Promise<void> {
    return this.stage.tell(JSON.stringify(order));
  }

  /** With repairs off it is waited a short time, unless it `isPatient`. */
  override recovered(
    condition: () => boolean | Promise<boolean>,
    { limitMs: longestMs, isPatient = false, ...wait }: RecoveryWait & { isPatient?: boolean },
  ): Promise<number | null> {
    const limitMs = this.repairs || isPatient ? longestMs : Math.min(longestMs, CONTROL_LIMIT_MS);
    return super.recovered(condition, { ...wait, limitMs });
  }

  async close(): Promise<void> {
    await this.watch.look().catch(() => undefined);
    this.end();
    await this.#watching.catch(() => undefined);
    await this.closeAll();
    await this.stage.close();
  }

  #url(): string {
    if (this.stage.url === null) throw new Error("the broker was not started yet");
    return this.stage.url;
  }
}
