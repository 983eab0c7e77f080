// Owns the processes of a cluster drill: etcd and brokers, each in a network namespace of its own, started, killed, paused.
// Refuses to own faults as such and what is published. Invariant: after `close` no process, namespace or directory is left.
import { until } from "../../demo/waiting.ts";
import type { FaultOrder } from "../../faults/fault_orders.ts";
import { startArguments } from "../../start_arguments.ts";
import { output } from "./commands.ts";
import { NetSpaces } from "./net_spaces.ts";

export const ETCD_MEMBERS = 3;
export const BROKERS = 3;
const CLIENT_PORT = 8080;
const PEER_PORT = 9092;
const ETCD_PORT = 2379;
const ETCD_PEER_PORT = 2380;
const START_MS = 60_000;
const STOP_MS = 30_000;
const KEPT_LOG_CHARS = 200_000;
/** A broker with a disk and a clock that can be made faulty; its large publishes are prepared where its clock is, too. */
const WITH_FAULTS = "ops/faults/broker_with_faults.ts";
const FAULTY_ARGS = ["--publish-threads=0"];

/** A process in its namespace. */
interface Running {
  readonly child: Deno.ChildProcess;
  readonly ended: Promise<Deno.CommandStatus>;
  log: string;
}

export interface ClusterStageOptions {
  /** Ends waiting early. */
  readonly signal: AbortSignal;
  readonly brokers?: number;
  readonly etcdMembers?: number;
  /** More flags of every broker. */
  readonly args?: readonly string[];
  /** Brokers obey orders for faults of their disk and clock. */
  readonly isFaulty?: boolean;
}

export class ClusterStage {
  readonly adminToken = crypto.randomUUID();
  readonly #secret = crypto.randomUUID();
  readonly #running = new Map<string, Running>();
  readonly #lastLog = new Map<string, string>();
  #closed = false;

  private constructor(
    readonly spaces: NetSpaces,
    readonly directory: string,
    private readonly options: ClusterStageOptions,
  ) {}

  /** Why cluster drills cannot run here; null: they can. */
  static async impossible(): Promise<string | null> {
    if (!await NetSpaces.isPossible()) return "network namespaces need root and iproute2";
    try {
      await output("etcd", ["--version"]);
    } catch {
      return "etcd is not on the PATH (Debian: apt-get install etcd-server)";
    }
    return null;
  }

  /** Namespaces for all, and nothing running yet. */
  static async open(options: ClusterStageOptions): Promise<ClusterStage> {
    const spaces = await NetSpaces.open();
    const directory = await Deno.makeTempDir({ prefix: "waybill-cluster-drill-" });
    const stage = new ClusterStage(spaces, directory, options);
    try {
      for (const name of [...stage.etcdNames, ...stage.nodeIds]) await spaces.add(name);
    } catch (error) {
      await stage.close();
      throw error;
    }
    return stage;
  }

  get etcdNames(): string[] {
    return names("etcd", this.options.etcdMembers ?? ETCD_MEMBERS);
  }

  get nodeIds(): string[] {
    return names("b", this.options.brokers ?? BROKERS);
  }

  urlOf(nodeId: string): string {
    return `http://${this.spaces.space(nodeId).address}:${CLIENT_PORT}`;
  }

  get urls(): string[] {
    return this.nodeIds.map((nodeId) => this.urlOf(nodeId));
  }

  dataDirOf(name: string): string {
    return `${this.directory}/${name}`;
  }

  isRunning(name: string): boolean {
    return this.#running.has(name);
  }

  /** The end of what a process has written to standard error, of its last life where it has ended. */
  log(name: string): string {
    return this.#running.get(name)?.log ?? this.#lastLog.get(name) ?? "";
  }

  /** All of it; resolves when every broker is online and every partition has a leader. */
  async start(): Promise<void> {
    await Promise.all(this.etcdNames.map((name) => this.startEtcd(name)));
    await Promise.all(this.nodeIds.map((nodeId) => this.startBroker(nodeId)));
    await this.whole();
  }

  /** Resolves when `isWhole`. */
  async whole(limitMs = START_MS): Promise<void> {
    const { signal } = this.options;
    const what = "all brokers online and all replicas in sync";
    await until(() => this.isWhole(), { signal, limitMs, what });
  }

  /** Whether every broker runs and sees all brokers online, and nothing offline or under-replicated. */
  async isWhole(): Promise<boolean> {
    for (const nodeId of this.nodeIds) {
      if (!this.isRunning(nodeId)) return false;
      const seen = await this.cluster(nodeId);
      if (seen === null) return false;
      const online = seen.brokers.filter(({ state }) => state === "online").length;
      if (online < this.nodeIds.length) return false;
      if (seen.offlinePartitions.length + seen.underReplicatedPartitions.length > 0) return false;
    }
    return true;
  }

  /** As a broker tells it; null while it does not. */
  async cluster(nodeId: string): Promise<ClusterSeen | null> {
    try {
      const response = await fetch(`${this.urlOf(nodeId)}/api/cluster`, {
        headers: { authorization: `Bearer ${this.adminToken}` },
        signal: AbortSignal.timeout(2_000),
      });
      return response.ok ? await response.json() : null;
    } catch {
      return null;
    }
  }

  async startEtcd(name: string): Promise<void> {
    const url = (of: string, port: number) => `http://${this.spaces.space(of).address}:${port}`;
    const peers = this.etcdNames.map((of) => `${of}=${url(of, ETCD_PEER_PORT)}`).join(",");
    await Deno.mkdir(this.dataDirOf(name), { recursive: true, mode: 0o700 });
    this.#spawn(name, "etcd", [
      `--name=${name}`,
      `--data-dir=${this.dataDirOf(name)}`,
      `--listen-client-urls=${url(name, ETCD_PORT)}`,
      `--advertise-client-urls=${url(name, ETCD_PORT)}`,
      `--listen-peer-urls=${url(name, ETCD_PEER_PORT)}`,
      `--initial-advertise-peer-urls=${url(name, ETCD_PEER_PORT)}`,
      `--initial-cluster=${peers}`,
      "--max-txn-ops=1024",
      "--logger=zap",
      "--log-level=warn",
    ]);
    await until(async () => {
      try {
        const answer = await fetch(`${url(name, ETCD_PORT)}/health`, {
          signal: AbortSignal.timeout(1_000),
        });
        return (await answer.json()).health === "true";
      } catch {
        // Those that start first wait for a quorum.
        return false;
      }
    }, { signal: this.options.signal, limitMs: START_MS, what: `etcd ${name} to serve` });
  }

  async startBroker(nodeId: string, args: readonly string[] = []): Promise<void> {
    const { address } = this.spaces.space(nodeId);
    const { isFaulty = false } = this.options;
    const etcd = this.etcdNames
      .map((name) => `http://${this.spaces.space(name).address}:${ETCD_PORT}`).join(",");
    const running = this.#spawn(nodeId, Deno.execPath(), [
      ...startArguments(isFaulty ? WITH_FAULTS : undefined),
      `--host=${address}`,
      `--port=${CLIENT_PORT}`,
      `--data-dir=${this.dataDirOf(nodeId)}`,
      `--node-id=${nodeId}`,
      `--etcd=${etcd}`,
      `--peer-port=${PEER_PORT}`,
      `--zone=zone-${nodeId}`,
      "--log-level=info",
      ...(isFaulty ? FAULTY_ARGS : []),
      ...(this.options.args ?? []),
      ...args,
    ], { WAYBILL_PEER_SECRET: this.#secret, WAYBILL_ADMIN_TOKEN: this.adminToken });
    let hasEnded = false;
    void running.ended.then(() => hasEnded = true);
    await until(async () => {
      if (hasEnded) throw new Error(`broker ${nodeId} ended: ${this.log(nodeId).slice(-2_000)}`);
      return await this.cluster(nodeId) !== null;
    }, { signal: this.options.signal, limitMs: START_MS, what: `broker ${nodeId} to answer` });
  }

  /** Resolves when the process is gone, with its exit code; null where it did not run. */
  async kill(name: string, signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<number | null> {
    const running = this.#running.get(name);
    if (running === undefined) return null;
    // `ip netns exec` becomes the process that it runs.
    Deno.kill(running.child.pid, signal);
    const late = setTimeout(() => running.child.kill("SIGKILL"), STOP_MS);
    const { code } = await running.ended;
    clearTimeout(late);
    return code;
  }

  /** The most memory that a running process has had resident, MiB. */
  async peakMiB(name: string): Promise<number> {
    const status = await Deno.readTextFile(`/proc/${this.#running.get(name)!.child.pid}/status`);
    const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(status) ?? [];
    if (kib === undefined) throw new Error(`the kernel does not tell the memory of ${name}`);
    return Math.round(Number(kib) / 1_024);
  }

  /** Makes the disk or the clock of a broker faulty, or whole again. */
  async order(nodeId: string, order: FaultOrder): Promise<void> {
    const writer = this.#running.get(nodeId)!.child.stdin.getWriter();
    try {
      await writer.write(new TextEncoder().encode(`${JSON.stringify(order)}\n`));
    } finally {
      writer.releaseLock();
    }
  }

  /** The member that leads etcd; null while none says so. */
  async etcdLeader(): Promise<string | null> {
    for (const name of this.etcdNames) {
      try {
        const url = `http://${this.spaces.space(name).address}:${ETCD_PORT}/v3/maintenance/status`;
        const signal = AbortSignal.timeout(1_000);
        const answer = await fetch(url, { method: "POST", body: "{}", signal });
        const { header, leader } = await answer.json();
        if (header.member_id === leader) return name;
      } catch {
        // One that is down leads nothing.
      }
    }
    return null;
  }

  /** Pauses or wakes a process. */
  signal(name: string, signal: "SIGSTOP" | "SIGCONT"): void {
    Deno.kill(this.#running.get(name)!.child.pid, signal);
  }

  /** All that a broker has stored, as when its disk is replaced. */
  async wipe(nodeId: string): Promise<void> {
    if (this.isRunning(nodeId)) throw new Error(`broker ${nodeId} runs`);
    await Deno.remove(this.dataDirOf(nodeId), { recursive: true });
  }

  /** Safe to call again. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#running.keys()].map((name) => this.kill(name)));
    await this.spaces.close();
    await Deno.remove(this.directory, { recursive: true });
  }

  #spawn(
    name: string,
    command: string,
    args: readonly string[],
    env: Record<string, string> = {},
  ): Running {
    const child = new Deno.Command("ip", {
      args: ["netns", "exec", this.spaces.space(name).namespace, command, ...args],
      env,
      // A broker that can be made faulty ends when its standard input does.
      stdin: this.options.isFaulty === true ? "piped" : "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const running: Running = { child, ended: child.status, log: "" };
    void readInto(child.stderr, (text) => {
      running.log = (running.log + text).slice(-KEPT_LOG_CHARS);
    });
    this.#running.set(name, running);
    void child.status.then(() => {
      this.#lastLog.set(name, running.log);
      if (this.#running.get(name) === running) this.#running.delete(name);
    });
    return running;
  }
}

/** What of `GET /api/cluster` drills look at. */
export interface ClusterSeen {
  readonly controller: { readonly nodeId: string; readonly epoch: number };
  readonly brokers: readonly { readonly nodeId: string; readonly state: string }[];
  readonly offlinePartitions: readonly { readonly topic: string; readonly partition: number }[];
  readonly underReplicatedPartitions: readonly {
    readonly topic: string;
    readonly partition: number;
  }[];
}

function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index + 1}`);
}

async function readInto(
  stream: ReadableStream<Uint8Array>,
  take: (text: string) => void,
): Promise<void> {
  for await (const text of stream.pipeThrough(new TextDecoderStream() as never)) {
    take(text as unknown as string);
  }
}
