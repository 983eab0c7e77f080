// Owns network namespaces of one drill: a network of its own on this machine, in which links are cut one way or both.
// Refuses to own what runs in them. Needs root and iproute2.
// Invariant: after `close` none of them is left; names are of this process, so that two drills do not meet.
//
// A cut from A to B is a blackhole route in A's namespace: nothing of A reaches B, answers to B neither; what B sends
// still reaches A. That is a one-way link as far as a packet is concerned, without a firewall.
import { output } from "./commands.ts";

const NAME_PREFIX = "wbd";
const MAX_SPACES = 200;

export interface NetSpace {
  readonly name: string;
  /** Name of its namespace, for `ip netns exec`. */
  readonly namespace: string;
  readonly address: string;
}

/** Networks that this process has opened. */
let opened = 0;

/** With it all names of namespaces and links of a process begin. */
export function namePrefixOf(pid: number): string {
  return `${NAME_PREFIX}${pid.toString(36)}x`;
}

export class NetSpaces {
  readonly #spaces = new Map<string, NetSpace>();
  readonly #cuts = new Set<string>();

  private constructor(readonly id: string, readonly subnet: string) {}

  /** Whether this process may make namespaces. */
  static async isPossible(): Promise<boolean> {
    const name = `${NAME_PREFIX}-probe-${Deno.pid}`;
    try {
      await output("ip", ["netns", "add", name]);
      await output("ip", ["netns", "del", name]);
      return true;
    } catch {
      return false;
    }
  }

  /** A network that nothing else on this machine uses, with a bridge on which this process is too. */
  static async open(): Promise<NetSpaces> {
    const number = Deno.pid % 250;
    // The kernel takes links away some time after their namespace: the next network has other names.
    const id = `${namePrefixOf(Deno.pid)}${(opened++).toString(36)}`;
    const spaces = new NetSpaces(id, `10.213.${number}`);
    await output("ip", ["link", "add", spaces.bridge, "type", "bridge"]);
    await output("ip", ["addr", "add", `${spaces.subnet}.254/24`, "dev", spaces.bridge]);
    await output("ip", ["link", "set", spaces.bridge, "up"]);
    return spaces;
  }

  /** Names of links have 15 characters at most. */
  get bridge(): string {
    return `${this.id}br`.slice(0, 15);
  }

  async add(name: string): Promise<NetSpace> {
    const number = this.#spaces.size + 1;
    if (number > MAX_SPACES) throw new Error(`at most ${MAX_SPACES} namespaces a drill`);
    const namespace = `${this.id}-${name}`;
    const address = `${this.subnet}.${number}`;
    const outer = `${this.id}o${number}`.slice(0, 15);
    await output("ip", ["netns", "add", namespace]);
    const space = { name, namespace, address };
    this.#spaces.set(name, space);
    await output("ip", [
      "link",
      "add",
      outer,
      "type",
      "veth",
      "peer",
      "name",
      "eth0",
      "netns",
      namespace,
    ]);
    await output("ip", ["link", "set", outer, "master", this.bridge, "up"]);
    for (
      const args of [
        ["addr", "add", `${address}/24`, "dev", "eth0"],
        ["link", "set", "eth0", "up"],
        ["link", "set", "lo", "up"],
      ]
    ) await output("ip", ["-n", namespace, ...args]);
    return space;
  }

  space(name: string): NetSpace {
    const space = this.#spaces.get(name);
    if (space === undefined) throw new Error(`there is no namespace ${name}`);
    return space;
  }

  /** Nothing of `from` reaches `to` any more. */
  async cutOneWay(from: string, to: string): Promise<void> {
    const key = `${from}>${to}`;
    if (this.#cuts.has(key)) return;
    this.#cuts.add(key);
    await this.#route(from, "add", to);
  }

  async cut(a: string, b: string): Promise<void> {
    await this.cutOneWay(a, b);
    await this.cutOneWay(b, a);
  }

  /** From all others. */
  async isolate(name: string, others: Iterable<string> = this.#spaces.keys()): Promise<void> {
    for (const other of others) if (other !== name) await this.cut(name, other);
  }

  /** Everything that was cut. */
  async heal(): Promise<void> {
    for (const key of [...this.#cuts]) {
      const [from, to] = key.split(">") as [string, string];
      await this.#route(from, "del", to);
      this.#cuts.delete(key);
    }
  }

  /** Removes all of it, with the processes that still run there. Safe to call again. */
  async close(): Promise<void> {
    for (const { namespace } of this.#spaces.values()) {
      const pids = await output("ip", ["netns", "pids", namespace]).catch(() => "");
      for (const pid of pids.split("\n").filter((line) => line !== "")) {
        try {
          Deno.kill(Number(pid), "SIGKILL");
        } catch {
          // It has ended meanwhile.
        }
      }
      await output("ip", ["netns", "del", namespace]).catch(() => undefined);
    }
    this.#spaces.clear();
    await output("ip", ["link", "del", this.bridge]).catch(() => undefined);
  }

  async #route(from: string, verb: "add" | "del", to: string): Promise<void> {
    const { namespace } = this.space(from);
    const { address } = this.space(to);
    await output("ip", ["-n", namespace, "route", verb, "blackhole", `${address}/32`]);
  }
}
