// Owns word from groups that crosses brokers, at the side where groups are led: who listens from afar, telling them.
// Refuses to own the listeners' side (routed_groups.ts) and what groups say.
// Invariant: a broker's tie to a shard lasts while both are there and this one leads the shard; word that could not be
// told ends the tie, so that whoever listens looks again; an answer to a command never overtakes word of before it.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Cancel } from "../../storage/ports.ts";
import type { Broker } from "../broker.ts";
import type { GroupCommand, GroupNotification } from "../group/types.ts";
import { GROUPS_TOPIC } from "../internal_topics.ts";
import type { PeerCaller, Peers } from "./peers.ts";
import type { Router } from "./router.ts";
import { peerMethod } from "./routes.ts";
import type { ClusterView } from "./types.ts";

/** Names of methods between brokers. */
export const TIE_METHODS = Object.freeze({
  attach: "groups.attach",
  listen: "groups.listen",
  unlisten: "groups.unlisten",
  told: "groups.told",
});

export interface AttachArgs {
  readonly tieId: number;
  readonly partition: number;
}

export interface ListenArgs {
  readonly tieId: number;
  readonly listenerId: number;
  readonly group: string;
  readonly memberId: string;
}

export interface ToldArgs {
  readonly listenerId: number;
  readonly notification: GroupNotification;
}

const TELL_MS = 5_000;
/** Of one broker to one shard. */
const MAX_LISTENERS = 100_000;

interface Tie {
  readonly listeners: Map<number, Cancel>;
  /** By group and member: resolves when all word so far was heard, or the tie has ended. */
  readonly telling: Map<string, Promise<void>>;
  readonly end: () => void;
}

export interface GroupTiesOptions {
  readonly router: Router;
  readonly local: Broker;
  readonly peers: Peers;
  readonly view: ClusterView;
}

export class GroupTies {
  /** By broker and its number of the tie. */
  readonly #ties = new Map<string, Tie>();

  constructor(private readonly options: GroupTiesOptions) {
    const { peers, local } = options;
    peers.handle(
      TIE_METHODS.attach,
      (args, caller, signal) => this.#attach(args as AttachArgs, caller, signal),
    );
    // deno-lint-ignore require-await -- a handler must reject, not throw
    peers.handle(TIE_METHODS.listen, async (args, caller) => {
      this.#listen(args as ListenArgs, caller);
      return null;
    });
    peers.handle(TIE_METHODS.unlisten, (args, caller) => {
      const { tieId, listenerId } = args as ListenArgs;
      const listeners = this.#ties.get(nameOf(caller, tieId))?.listeners;
      listeners?.get(listenerId)?.();
      listeners?.delete(listenerId);
      return Promise.resolve(null);
    });
    peers.handle(peerMethod("broker", "group"), async (args, caller) => {
      const command = (args as [GroupCommand])[0];
      try {
        return await local.group(command);
      } finally {
        await this.#heard(caller, command);
      }
    });
  }

  /** Answers when the tie ends, with nothing. */
  async #attach(
    { tieId, partition }: AttachArgs,
    caller: PeerCaller,
    signal: AbortSignal,
  ): Promise<null> {
    const name = nameOf(caller, tieId);
    this.#ties.get(name)?.end();
    const at = this.#ledHere(partition);
    await new Promise<void>((resolve) => {
      const tie: Tie = {
        listeners: new Map(),
        telling: new Map(),
        end: () => {
          if (this.#ties.get(name) === tie) this.#ties.delete(name);
          for (const cancel of tie.listeners.values()) cancel();
          tie.listeners.clear();
          unwatch();
          signal.removeEventListener("abort", tie.end);
          resolve();
        },
      };
      const unwatch = this.options.view.onPartition(at, (kept) => {
        if (kept?.record.leader !== this.options.router.nodeId) tie.end();
      });
      this.#ties.set(name, tie);
      signal.addEventListener("abort", tie.end);
      if (signal.aborted) tie.end();
    });
    return null;
  }

  #ledHere(partition: number) {
    const { router } = this.options;
    const place = { topic: GROUPS_TOPIC, partition };
    const at = router.partitionOf(place);
    if (at !== null && router.ownerOf(place).at === "here") return at;
    const message = `${GROUPS_TOPIC}/${partition} is not led by broker ${router.nodeId}`;
    throw new BrokerError("NOT_LEADER", message);
  }

  #listen({ tieId, listenerId, group, memberId }: ListenArgs, caller: PeerCaller): void {
    const tie = this.#ties.get(nameOf(caller, tieId));
    if (tie === undefined) throw new BrokerError("NOT_LEADER", "the tie has ended");
    if (tie.listeners.size >= MAX_LISTENERS) {
      throw new BrokerError("OVERLOADED", `${MAX_LISTENERS} members are listened for already`);
    }
    tie.listeners.get(listenerId)?.();
    const at = { group, memberId };
    const cancel = this.options.local.onGroupNotification(at, (notification) => {
      this.#tell(tie, caller, { at, told: { listenerId, notification } });
    });
    tie.listeners.set(listenerId, cancel);
  }

  #tell(
    tie: Tie,
    { nodeId }: PeerCaller,
    { at, told }: { readonly at: { group: string; memberId: string }; readonly told: ToldArgs },
  ): void {
    const key = keyOf(at.group, at.memberId);
    const request = { method: TIE_METHODS.told, args: told, lane: "data" as const };
    const before = tie.telling.get(key);
    const telling = this.options.peers.call(nodeId, request, { timeoutMs: TELL_MS })
      .catch(() => tie.end())
      .then(() => before)
      .then(() => {
        if (tie.telling.get(key) === telling) tie.telling.delete(key);
      });
    tie.telling.set(key, telling);
  }

  /** Resolves when the caller has heard what its members were told so far. */
  async #heard({ nodeId }: PeerCaller, command: GroupCommand): Promise<void> {
    const members = membersOf(command);
    if (members.length === 0) return;
    for (const [name, tie] of this.#ties) {
      if (!name.startsWith(`${nodeId} `)) continue;
      for (const member of members) await tie.telling.get(keyOf(command.group, member));
    }
  }
}

function nameOf({ nodeId, incarnation }: PeerCaller, tieId: number): string {
  return `${nodeId} ${incarnation} ${tieId}`;
}

/** No name of a group has a line break. */
function keyOf(group: string, memberId: string): string {
  return `${group}\n${memberId}`;
}

function membersOf(command: GroupCommand): string[] {
  const { memberId, newMemberId } = command as { memberId?: string; newMemberId?: string };
  return [memberId, newMemberId].filter((id) => id !== undefined);
}
