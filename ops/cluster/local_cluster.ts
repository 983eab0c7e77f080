// Owns a cluster on this machine: etcd, the secret of its brokers, the brokers, and starting again those that die.
// Refuses to own what a broker does, and where messages go (main.ts).
// Invariant: it is ready when every broker is online and every partition has a leader; brokers stop before etcd does.
import { setTimeout as pause } from "node:timers/promises";
import { type BrokerChild, startBrokerChild } from "../broker_child.ts";
import { type LocalEtcd, startLocalEtcd } from "./local_etcd.ts";
import type { LocalClusterOptions } from "./options.ts";

const SECRET_BYTES = 32;
const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 100;
/** Wait before a broker that died is started again, and how often that is done. */
const RESTART_AFTER_MS = 5_000;
const MAX_RESTARTS = 20;

export interface LocalBrokerPlace {
  readonly nodeId: string;
  readonly url: string;
  readonly pid: number;
  readonly dataDir: string;
}

export interface LocalCluster {
  readonly etcd: readonly string[];
  readonly dataDir: string;
  brokers(): readonly LocalBrokerPlace[];
  /** Safe to call again. */
  stop(): Promise<void>;
}

/**
 * Starts all of it; resolves when it is ready. Rejects with what is wrong, or when `signal` is aborted before, and leaves
 * nothing running then.
 */
export async function startLocalCluster(
  options: LocalClusterOptions,
  { say, signal }: { readonly say: (line: string) => void; readonly signal: AbortSignal },
): Promise<LocalCluster> {
  const cluster = new RunningCluster(options, say);
  signal.addEventListener("abort", () => void cluster.stop(), { once: true });
  try {
    await cluster.start();
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return cluster;
}

class RunningCluster implements LocalCluster {
  readonly #brokers = new Map<string, { child: BrokerChild; place: LocalBrokerPlace }>();
  #etcd: LocalEtcd | null = null;
  #stopping: Promise<void> | null = null;

  constructor(
    private readonly options: LocalClusterOptions,
    private readonly say: (line: string) => void,
  ) {}

  get dataDir(): string {
    return this.options.dataDir;
  }

  get etcd(): readonly string[] {
    return this.#etcd === null ? this.options.etcd : [this.#etcd.endpoint];
  }

  brokers(): readonly LocalBrokerPlace[] {
    return [...this.#brokers.values()].map(({ place }) => place)
      .sort((a, b) => Number(a.nodeId) - Number(b.nodeId));
  }

  async start(): Promise<void> {
    const { brokers, dataDir, etcd } = this.options;
    await Deno.mkdir(dataDir, { recursive: true, mode: 0o700 });
    await makeSecret(this.#secretFile);
    if (etcd.length === 0) {
      this.#etcd = await startLocalEtcd(`${dataDir}/etcd`);
      void this.#etcd.ended.then((said) => {
        if (this.#stopping === null) this.say(`etcd ended: ${said}`);
      });
    }
    const nodeIds = Array.from({ length: brokers }, (_, index) => String(index + 1));
    const started = await Promise.allSettled(nodeIds.map((nodeId) => this.#startBroker(nodeId)));
    const failed = started.find(({ status }) => status === "rejected");
    if (failed?.status === "rejected") throw failed.reason;
    await this.#ready();
  }

  stop(): Promise<void> {
    return this.#stopping ??= (async () => {
      await Promise.all([...this.#brokers.values()].map(({ child }) => child.kill("SIGTERM")));
      await this.#etcd?.stop();
    })();
  }

  get #secretFile(): string {
    return `${this.options.dataDir}/peer-secret`;
  }

  async #startBroker(nodeId: string, restarts = 0): Promise<void> {
    const { port, dataDir: directory } = this.options;
    const dataDir = `${directory}/broker-${nodeId}`;
    const known = this.#brokers.get(nodeId)?.place.url;
    const child = await startBrokerChild({
      dataDir,
      stderr: "keep",
      logFile: `${dataDir}.log`,
      port: known !== undefined
        ? Number(new URL(known).port)
        : port === 0
        ? 0
        : port + Number(nodeId) - 1,
      args: [
        `--etcd=${this.etcd.join(",")}`,
        `--node-id=${nodeId}`,
        `--zone=zone-${nodeId}`,
        `--peer-secret-file=${this.#secretFile}`,
      ],
    });
    if (this.#stopping !== null) {
      await child.kill("SIGTERM");
      return;
    }
    const place = { nodeId, url: child.url, pid: child.pid, dataDir };
    this.#brokers.set(nodeId, { child, place });
    void child.ended.then(({ code }) => this.#ended(nodeId, code, restarts));
  }

  async #ended(nodeId: string, code: number, restarts: number): Promise<void> {
    if (this.#stopping !== null) return;
    if (restarts === MAX_RESTARTS) {
      this.say(
        `broker ${nodeId} ended (exit code ${code}) for the ${restarts}th time: it stays down`,
      );
      return;
    }
    this.say(
      `broker ${nodeId} ended (exit code ${code}); it starts again in ${
        RESTART_AFTER_MS / 1_000
      } s`,
    );
    await pause(RESTART_AFTER_MS);
    if (this.#stopping !== null) return;
    try {
      await this.#startBroker(nodeId, restarts + 1);
      this.say(`broker ${nodeId} is back at ${this.#brokers.get(nodeId)!.place.url}`);
    } catch (error) {
      this.say(`broker ${nodeId} does not start: ${(error as Error).message}`);
      await this.#ended(nodeId, code, restarts + 1);
    }
  }

  /** Every broker says that all are online, and that every partition has a leader. */
  async #ready(): Promise<void> {
    const givenUpAt = performance.now() + READY_TIMEOUT_MS;
    let missing = "";
    while (performance.now() < givenUpAt) {
      if (this.#stopping !== null) throw new Error("stopped before the cluster was ready");
      const problems = await Promise.all(this.brokers().map((place) => this.#problemOf(place)));
      missing = problems.filter((problem) => problem !== null).join("; ");
      if (missing === "") return;
      await pause(POLL_MS);
    }
    throw new Error(`the cluster is not ready after ${READY_TIMEOUT_MS / 1_000} s: ${missing}`);
  }

  async #problemOf({ nodeId, url }: LocalBrokerPlace): Promise<string | null> {
    try {
      const response = await fetch(`${url}/api/cluster`);
      const { brokers, offlinePartitions } = await response.json();
      const online = brokers.filter(({ state }: { state: string }) => state === "online").length;
      if (online < this.options.brokers) return `broker ${nodeId} sees ${online} brokers online`;
      return offlinePartitions.length === 0
        ? null
        : `broker ${nodeId} sees ${offlinePartitions.length} partitions without leader`;
    } catch (error) {
      return `broker ${nodeId} does not answer: ${(error as Error).message}`;
    }
  }
}

/** Made once: brokers that are started again must know it. */
async function makeSecret(path: string): Promise<void> {
  const secret = crypto.getRandomValues(new Uint8Array(SECRET_BYTES)).toBase64();
  try {
    await Deno.writeTextFile(path, `${secret}\n`, { createNew: true, mode: 0o600 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}
