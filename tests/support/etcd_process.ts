// Owns running real etcd members on free loopback ports: one, or several that are one cluster.
// Refuses to own what is tested. Invariant: every wait is bounded; no member and no directory outlives `close`.
import type { PemPair } from "./self_signed.ts";
import { works } from "./system_needs.ts";

/** Longest start that is waited for: machines of the test are slow and shared. */
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;
const POLL_MS = 50;
const ASK_TIMEOUT_MS = 1_000;
/** Another process may take a free port before etcd does. */
const MAX_STARTS = 3;

export const ETCD_NEEDED = "Debian has it as etcd-server";

/** Whether this machine can run etcd. */
export function hasEtcd(): Promise<boolean> {
  return works("etcd", "--version");
}

export interface EtcdOptions {
  /** Of etcd, for every member; `--max-txn-ops=1024` unless said otherwise. */
  readonly args?: readonly string[];
  /** PEM files for the clients' side: members speak https then. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
  /** What is shown to members that ask clients for certificates. */
  readonly client?: PemPair;
}

/** `await using` ends every member and removes their directories. */
export interface EtcdCluster extends AsyncDisposable {
  readonly members: readonly EtcdMember[];
  /** Of every member, for clients. */
  readonly endpoints: string[];
  /** Waits until every member serves. */
  ready(): Promise<void>;
  /** The member that leads now; waits until there is one. */
  leader(): Promise<EtcdMember>;
  /** All that the members wrote, for a failed test. */
  log(): string;
}

/** One member; ends with its cluster. */
export class EtcdMember {
  #child: Deno.ChildProcess | null = null;
  #reading: Promise<unknown> = Promise.resolve();
  log = "";

  constructor(readonly endpoint: string, private readonly args: readonly string[]) {}

  /** Starts it, again with what it kept after `stop` or `kill`. `ready` tells when it serves. */
  start(): void {
    const child = this.#child = new Deno.Command("etcd", {
      args: [...this.args],
      clearEnv: true,
      env: { PATH: Deno.env.get("PATH") ?? "" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#reading = Promise.all([this.#read(child.stdout), this.#read(child.stderr)]);
  }

  /** SIGTERM; resolves when it has ended. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** SIGKILL; resolves when it has ended. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** SIGSTOP: its connections stay, and nothing answers. */
  pause(): void {
    this.#child?.kill("SIGSTOP");
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
  }

  /** Resolves when it answers and sees a leader; rejects after `START_TIMEOUT_MS`, or when it has ended. */
  async ready(client: Deno.HttpClient): Promise<void> {
    const givenUpAt = performance.now() + START_TIMEOUT_MS;
    let ended = false;
    void this.#child?.status.then(() => ended = true);
    while (performance.now() < givenUpAt) {
      if (ended) throw new Error(`etcd ended: ${this.log}`);
      if (await isHealthy(this.endpoint, client)) return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    throw new Error(`etcd is not ready after ${START_TIMEOUT_MS} ms: ${this.log}`);
  }

  async #end(signal: Deno.Signal): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    this.#child = null;
    // A stopped process takes no SIGTERM.
    killQuietly(child, "SIGCONT");
    killQuietly(child, signal);
    const timer = setTimeout(() => killQuietly(child, "SIGKILL"), STOP_TIMEOUT_MS);
    await child.status;
    clearTimeout(timer);
    await this.#reading;
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) {
      this.log = (this.log + decoder.decode(bytes, { stream: true })).slice(-100_000);
    }
  }
}

function killQuietly(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch {
    // It has ended.
  }
}

/** Starts `count` members as one cluster, and waits until all of them serve. */
export async function startEtcd(count = 1, options: EtcdOptions = {}): Promise<EtcdCluster> {
  for (let start = 1;; start++) {
    const directory = await Deno.makeTempDir({ prefix: "waybill-etcd-" });
    const members = membersOf(count, directory, options);
    const client = Deno.createHttpClient({
      caCerts: options.tls === undefined ? [] : [await Deno.readTextFile(options.tls.certFile)],
      ...options.client,
    });
    const close = async () => {
      await Promise.all(members.map((member) => member.kill()));
      client.close();
      await Deno.remove(directory, { recursive: true });
    };
    for (const member of members) member.start();
    try {
      await Promise.all(members.map((member) => member.ready(client)));
      return clusterOf(members, client, close);
    } catch (error) {
      await close();
      const isPortTaken = /address already in use/.test(String(error));
      if (!isPortTaken || start === MAX_STARTS) throw error;
    }
  }
}

function clusterOf(
  members: readonly EtcdMember[],
  client: Deno.HttpClient,
  close: () => Promise<void>,
): EtcdCluster {
  return {
    members,
    endpoints: members.map((member) => member.endpoint),
    log: () => members.map((member) => member.log).join("\n"),
    [Symbol.asyncDispose]: close,
    async ready() {
      await Promise.all(members.map((member) => member.ready(client)));
    },
    async leader() {
      const givenUpAt = performance.now() + START_TIMEOUT_MS;
      while (performance.now() < givenUpAt) {
        for (const member of members) if (await leads(member.endpoint, client)) return member;
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
      throw new Error(`no member of etcd leads after ${START_TIMEOUT_MS} ms`);
    },
  };
}

function membersOf(count: number, directory: string, options: EtcdOptions): EtcdMember[] {
  const ports = freePorts(2 * count);
  const scheme = options.tls === undefined ? "http" : "https";
  const places = Array.from({ length: count }, (_, index) => ({
    name: `m${index}`,
    client: `${scheme}://127.0.0.1:${ports[2 * index]}`,
    peer: `http://127.0.0.1:${ports[2 * index + 1]}`,
  }));
  const cluster = places.map(({ name, peer }) => `${name}=${peer}`).join(",");
  return places.map(({ name, client, peer }) =>
    new EtcdMember(client, [
      `--name=${name}`,
      `--data-dir=${directory}/${name}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=${cluster}`,
      "--logger=zap",
      "--log-level=warn",
      ...tlsArguments(options),
      ...(options.args ?? ["--max-txn-ops=1024"]),
    ])
  );
}

function tlsArguments({ tls }: EtcdOptions): string[] {
  return tls === undefined ? [] : [`--cert-file=${tls.certFile}`, `--key-file=${tls.keyFile}`];
}

/** Ports that were all free at one moment. */
function freePorts(count: number): number[] {
  const listeners = Array.from(
    { length: count },
    () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  );
  const ports = listeners.map((listener) => listener.addr.port);
  for (const listener of listeners) listener.close();
  return ports;
}

/** Whether a member answers what needs the cluster. */
async function isHealthy(endpoint: string, client: Deno.HttpClient): Promise<boolean> {
  const answer = await asked(`${endpoint}/health`, { client });
  return answer?.health === "true";
}

async function leads(endpoint: string, client: Deno.HttpClient): Promise<boolean> {
  const init = { method: "POST", body: "{}", client };
  const answer = await asked(`${endpoint}/v3/maintenance/status`, init);
  return answer?.leader !== undefined && answer.header.member_id === answer.leader;
}

/** Null when there is no answer in a second. */
async function asked(
  url: string,
  init: RequestInit & { client: Deno.HttpClient },
  // deno-lint-ignore no-explicit-any -- the answers of two paths, of which each caller knows its own
): Promise<any> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), ASK_TIMEOUT_MS);
  try {
    const response = await fetch(url, { ...init, signal: late.signal });
    return await response.json();
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}
