// Owns the processes and files of a run: a directory of its own, the broker, the members, the ledger.
// Refuses to own when anything is started or killed (story.ts).
// Invariant: after `close` no process is left and the directory is gone, however the run ended.
import { type BrokerChild, startBrokerChild } from "../broker_child.ts";
import { LedgerReader } from "./ledger.ts";
import { MemberProcess } from "./member_process.ts";

const START_ATTEMPTS = 10;
const LEAVE_WITHIN_MS = 10_000;

export interface StageOptions {
  readonly topic: string;
  readonly group: string;
  readonly brokerArgs: readonly string[];
  /** A process has ended that nobody ended. */
  readonly onAccident: (reason: string) => void;
}

export class Stage {
  readonly members = new Map<string, MemberProcess>();
  readonly #options: StageOptions;
  readonly #directory: string;
  readonly ledger: LedgerReader;
  #broker: BrokerChild | null = null;
  #url = "";
  #closed = false;

  private constructor(options: StageOptions, directory: string) {
    this.#options = options;
    this.#directory = directory;
    this.ledger = new LedgerReader(this.#ledgerPath);
  }

  /** A directory, and nothing running yet. */
  static async open(options: StageOptions): Promise<Stage> {
    return new Stage(options, await Deno.makeTempDir({ prefix: "waybill-demo-" }));
  }

  /** Of the broker; the same after a restart. */
  get url(): string {
    return this.#url;
  }

  /** Starts the broker, again on the port that it had before. */
  async startBroker(): Promise<BrokerChild> {
    const port = this.#url === "" ? 0 : Number(new URL(this.#url).port);
    const broker = await this.#startOn(port);
    this.#broker = broker;
    this.#url = broker.url;
    if (this.#closed) await broker.kill("SIGKILL");
    broker.ended.then(({ code }) => {
      if (this.#broker !== broker || this.#closed) return;
      this.#options.onAccident(`the broker ended with exit code ${code}: ${broker.log()}`);
    });
    return broker;
  }

  /** Signal 9; resolves when the process is gone. */
  async killBroker(): Promise<void> {
    const broker = this.#broker;
    this.#broker = null;
    await broker?.kill("SIGKILL");
  }

  startMember(name: string): void {
    const { topic, group, onAccident } = this.#options;
    const spec = { url: this.#url, topic, group, member: name, ledger: this.#ledgerPath };
    this.members.set(
      name,
      new MemberProcess(spec, (reason) => {
        if (!this.#closed) onAccident(`${name} ended: ${reason}`);
      }),
    );
  }

  /** Every member commits what it has and leaves. */
  async letMembersLeave(): Promise<void> {
    await Promise.all([...this.members.values()].map((member) => member.leave(LEAVE_WITHIN_MS)));
  }

  /** Ends what still runs, without ceremony, and removes the directory. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([
      this.killBroker(),
      ...[...this.members.values()].map((member) => member.kill()),
    ]);
    this.ledger.close();
    await Deno.remove(this.#directory, { recursive: true });
  }

  get #ledgerPath(): string {
    return `${this.#directory}/received.ndjson`;
  }

  /** While the broker was away another process may have been given its port for a moment: that passes. */
  async #startOn(port: number): Promise<BrokerChild> {
    const dataDir = `${this.#directory}/data`;
    const { brokerArgs: args } = this.#options;
    for (let attempt = 1;; attempt++) {
      try {
        return await startBrokerChild({ dataDir, port, args, stderr: "keep" });
      } catch (error) {
        const taken = port !== 0 && /AddrInUse|in use/i.test((error as Error).message);
        if (!taken || attempt === START_ATTEMPTS || this.#closed) throw error;
      }
    }
  }
}
