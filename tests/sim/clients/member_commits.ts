// Owns the commits of one session: of what was read so far, at once or, as over a slow line, some time later.
// Refuses to own reading and membership (member_session.ts), and to judge (ledgers/commit_ledger.ts).
// Invariant: no commit is meant to go back; one that is refused as going back was overtaken by a late one.
import type { Topic, TopicPartition } from "../../../actors/broker.ts";
import type { CommitReply, GroupCommand } from "../../../actors/group/types.ts";
import { BrokerError } from "../../../storage/broker_error.ts";
import { ConnectionLost } from "../incarnation.ts";
import { keyOf, type PlacedOffset } from "../ledgers/commit_ledger.ts";
import type { ClientScene, GroupLedgers } from "../client_scene.ts";

const LATE_COMMIT_ONE_IN = 12;
const MAX_LATE_MS = 4_000;

type Commit = Extract<GroupCommand, { type: "CommitOffsets" }>;

/** One partition that this session was told to read. */
export interface Held extends TopicPartition {
  /** The topic as it was when reading began; null before. */
  source: Topic | null;
  position: number;
  committed: number;
  /** The highest offset it asked to commit, whatever the answer. */
  asked: number;
  revoked: boolean;
  /** Whether a late commit may have come in between since reading began. */
  isOvertaken: () => boolean;
}

/** The session that commits. */
export interface Committer {
  readonly name: string;
  readonly self: () => { readonly memberId: string; readonly generation: number };
  readonly ask: (command: Commit) => Promise<CommitReply>;
}

export class MemberCommits {
  constructor(
    private readonly simulation: ClientScene,
    private readonly ledgers: GroupLedgers,
    private readonly committer: Committer,
  ) {}

  /** Commits something of what was read, now or, as over a slow line, some time later. */
  async some(held: Held): Promise<void> {
    const { world } = this.simulation;
    if (held.position <= held.committed) return;
    const offset = world.integer(Math.max(held.committed + 1, held.asked), held.position);
    if (!world.oneIn(LATE_COMMIT_ONE_IN)) return await this.commit(held, offset);
    held.asked = offset;
    const settled = this.ledgers.commits.lateCommit();
    const late = { ...held };
    world.start(this.committer.name, async () => {
      await world.sleep(world.between(0, MAX_LATE_MS));
      try {
        await this.commit(late, offset);
      } catch (error) {
        if (!(error instanceof BrokerError || error instanceof ConnectionLost)) throw error;
      } finally {
        settled();
      }
    });
  }

  /** Commits `offset`, now. A refusal is noted. */
  async commit(held: Held, offset: number): Promise<void> {
    const { machine, world } = this.simulation;
    const { group, commits, owners } = this.ledgers;
    const { topic, partition } = held;
    const { memberId, generation } = this.committer.self();
    const at: PlacedOffset = { topicId: held.source!.topicId, topic, partition, offset };
    const fencing = world.oneIn(2) ? { generation } : {};
    const info = await machine.ask(
      this.committer.name,
      (broker) => broker.partitionInfo({ topic, partition }),
    );
    if (info.state === "offline" || machine.broker?.topic(topic)?.topicId !== at.topicId) return;
    const { highWatermark: endOffset } = info;
    const isOthers = owners.isOthers(memberId, held);
    held.asked = Math.max(held.asked, offset);
    const settle = commits.committing([at], false);
    try {
      const reply = await this.committer.ask({
        type: "CommitOffsets",
        group,
        memberId,
        ...fencing,
        offsets: [{ topic, partition, offset, endOffset }],
        allowRewind: false,
        principal: this.committer.name,
      });
      settle(reply);
      held.committed = Math.max(held.committed, offset);
      world.note(this.committer.name, `committed ${keyOf(held)} ${offset}`);
      if (isOthers) {
        world.violation(`${group} took a commit of ${keyOf(held)} from ${memberId}, not its owner`);
      }
    } catch (error) {
      settle(null);
      this.#refused(held, offset, error);
    }
  }

  #refused(held: Held, offset: number, error: unknown): void {
    if (!(error instanceof BrokerError)) throw error;
    const { world } = this.simulation;
    world.note(this.committer.name, `cannot commit ${keyOf(held)} ${offset}: ${error.code}`);
    if (error.code !== "OFFSET_ROLLBACK") return;
    held.source = null;
    if (!held.isOvertaken()) {
      world.violation(`${this.committer.name}, which began where its group was: ${error.message}`);
    }
  }
}
