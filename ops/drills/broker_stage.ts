// Owns the broker of a drill: its directory, its process, the same address through all its lives, starting it again.
// Refuses to own faults and what is published. Invariant: after `close` no process is left and the directory is gone.
import { type BrokerChild, startBrokerChild } from "../broker_child.ts";
import type { Timeline } from "./timeline.ts";

const START_ATTEMPTS = 10;
/** A supervisor waits so long before it starts what has ended. */
const RESTART_AFTER_MS = 200;

export interface BrokerStart {
  readonly args?: readonly string[];
  /** Program instead of main.ts, relative to the project. */
  readonly entry?: string;
}

export class BrokerStage {
  #broker: BrokerChild | null = null;
  #url: string | null = null;
  #options: BrokerStart = {};
  #closed = false;
  /** Resolves when nothing is being started. */
  #supervised: Promise<void> = Promise.resolve();
  /** A broker that ends without being told to is started again. */
  isSupervised = false;

  private constructor(readonly directory: string, private readonly timeline: Timeline) {}

  /** A directory, and nothing running yet. */
  static async open(timeline: Timeline): Promise<BrokerStage> {
    return new BrokerStage(await Deno.makeTempDir({ prefix: "waybill-drill-" }), timeline);
  }

  /** Address of the broker, whether it runs or not; null before the first start. */
  get url(): string | null {
    return this.#url;
  }

  get isRunning(): boolean {
    return this.#broker !== null;
  }

  get pid(): number {
    if (this.#broker === null) throw new Error("the broker does not run");
    return this.#broker.pid;
  }

  get dataDir(): string {
    return `${this.directory}/data`;
  }

  /** The end of what the broker that runs has logged. */
  log(): string {
    return this.#broker?.log() ?? "";
  }

  /** Starts the broker, again on the port that it had before. */
  async start(options: BrokerStart = this.#options): Promise<void> {
    this.#options = options;
    const port = this.#url === null ? 0 : Number(new URL(this.#url).port);
    const broker = await this.#startOn(port);
    this.#broker = broker;
    this.#url = broker.url;
    if (this.#closed) await this.kill();
    broker.ended.then(({ code }) => this.#ended(broker, code));
  }

  /** Signal 9; resolves when the process is gone. A supervisor takes that for an accident. */
  async kill(): Promise<void> {
    await this.#broker?.kill("SIGKILL");
  }

  /** A signal to the process that runs, as SIGSTOP is. */
  signal(signal: Deno.Signal): void {
    Deno.kill(this.pid, signal);
  }

  /** One line to the standard input of a broker that listens there. */
  tell(line: string): Promise<void> {
    if (this.#broker === null) throw new Error("the broker does not run");
    return this.#broker.tell(line);
  }

  /** Ends what still runs, without ceremony, and removes the directory. Safe to call again. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.kill();
    await this.#supervised;
    await Deno.remove(this.directory, { recursive: true });
  }

  #ended(broker: BrokerChild, code: number): void {
    if (this.#broker !== broker) return;
    this.#broker = null;
    if (this.#closed) return;
    this.timeline.add("step", `the broker's process has ended with code ${code}`);
    if (this.isSupervised) this.#supervised = this.#startAgain();
  }

  async #startAgain(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, RESTART_AFTER_MS));
    if (this.#closed) return;
    this.timeline.add("repair", "the supervisor starts the broker again");
    try {
      await this.start();
    } catch (error) {
      this.timeline.add("repair", `the broker could not be started: ${(error as Error).message}`);
    }
  }

  /** While the broker was away another process may have been given its port for a moment: that passes. */
  async #startOn(port: number): Promise<BrokerChild> {
    const { args = [], entry } = this.#options;
    for (let attempt = 1;; attempt++) {
      try {
        return await startBrokerChild({
          dataDir: this.dataDir,
          port,
          args,
          stderr: "keep",
          ...(entry === undefined ? {} : { entry }),
        });
      } catch (error) {
        const taken = port !== 0 && /AddrInUse|in use/i.test((error as Error).message);
        if (!taken || attempt === START_ATTEMPTS || this.#closed) throw error;
      }
    }
  }
}
