// Owns watching the group as an operator would: members, generation, rebalances and lag, asked over HTTP.
// Refuses to own what is done about it. Invariant: while the broker is away the last answers stand, and nothing fails.
import { pause } from "./waiting.ts";

const LOOK_EVERY_MS = 150;
const ANSWER_WITHIN_MS = 5_000;

export interface PartitionLag {
  readonly partition: number;
  readonly lag: number;
  readonly committedOffset: number | null;
  readonly highWatermark: number;
}

export interface Rebalance {
  readonly generation: number;
  /** In words, with the names of members. */
  readonly cause: string;
}

interface GroupAnswer {
  readonly generation: number;
  readonly state: string;
  readonly members: readonly {
    readonly memberId: string;
    readonly clientId: string | null;
    readonly assignment: readonly { readonly partition: number }[];
    readonly revoking: readonly unknown[];
  }[];
}

export interface GroupWatchOptions {
  readonly url: string;
  readonly group: string;
  readonly signal: AbortSignal;
  readonly onRebalance: (rebalance: Rebalance) => void;
}

export class GroupWatch {
  generation = 0;
  /** Partitions by the name that a member joined under. */
  assignment: ReadonlyMap<string, readonly number[]> = new Map();
  /** No partition is on its way from one member to another. */
  settled = false;
  lag: readonly PartitionLag[] = [];
  /** Null until it was asked for; the sum over all partitions. */
  totalLag: number | null = null;
  readonly #options: GroupWatchOptions;
  #stopped = false;
  /** Names by member id, of those that are gone as well. */
  readonly #names = new Map<string, string>();

  constructor(options: GroupWatchOptions) {
    this.#options = options;
  }

  /** Looks no more: what is known stays as it is. */
  stop(): void {
    this.#stopped = true;
  }

  /** Asks again and again until it is stopped, or the signal. */
  async run(): Promise<void> {
    const { signal } = this.#options;
    while (!this.#stopped && !signal.aborted) {
      await this.#look();
      await pause(LOOK_EVERY_MS, signal).catch(() => undefined);
    }
  }

  async #look(): Promise<void> {
    const path = `/api/groups/${this.#options.group}`;
    const group = await this.#get<GroupAnswer>(path);
    if (group === null || this.#stopped) return;
    for (const { memberId, clientId } of group.members) {
      this.#names.set(memberId, clientId ?? memberId);
    }
    if (group.generation > this.generation) await this.#tellRebalances(path);
    this.assignment = new Map(
      group.members.map(({ clientId, assignment }) => [
        clientId ?? "?",
        assignment.map(({ partition }) => partition).sort((a, b) => a - b),
      ]),
    );
    this.settled = group.state === "stable" &&
      group.members.every(({ revoking }) => revoking.length === 0);
    const lag = await this.#get<{ totalLag: number; partitions: PartitionLag[] }>(`${path}/lag`);
    if (lag === null || this.#stopped) return;
    this.totalLag = lag.totalLag;
    this.lag = lag.partitions;
  }

  async #tellRebalances(path: string): Promise<void> {
    const answer = await this.#get<{ rebalances: Rebalance[] }>(`${path}/rebalances`);
    if (answer === null) return;
    for (const rebalance of answer.rebalances.toReversed()) {
      if (rebalance.generation <= this.generation) continue;
      this.generation = rebalance.generation;
      const cause = inShort(this.#withNames(rebalance.cause));
      this.#options.onRebalance({ ...rebalance, cause });
    }
  }

  #withNames(text: string): string {
    let named = text;
    for (const [memberId, name] of this.#names) named = named.replaceAll(memberId, name);
    return named;
  }

  /** Null when there was no good answer. */
  async #get<Answer>(path: string): Promise<Answer | null> {
    const { url, signal } = this.#options;
    try {
      const response = await fetch(url + path, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_WITHIN_MS)]),
      });
      if (response.ok) return await response.json();
      await response.body?.cancel();
    } catch {
      // The broker is away: the next look will tell.
    }
    return null;
  }
}

/** `member joined: a; member joined: b` as `member joined: a, b`. */
function inShort(cause: string): string {
  const subjects = Map.groupBy(cause.split("; "), (each) => each.split(": ")[0]!);
  return [...subjects].map(([what, each]) => {
    const who = each.map((one) => one.slice(what.length + 2)).filter((name) => name !== "");
    return who.length === 0 ? what : `${what}: ${who.sort().join(", ")}`;
  }).join("; ");
}
