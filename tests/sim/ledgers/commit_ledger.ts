// Owns what the outside knows of the committed offsets of one group.
// Refuses to ask the broker anything (clients/member.ts does).
// Invariant: a committed offset never goes back without a rewind, and one that was acknowledged survives everything.
import type { CommitReply } from "../../../actors/group/types.ts";
import type { TopicPartition } from "../../../actors/broker.ts";
import type { RunWorld } from "../world.ts";

/** A topic id and a number: offsets of a topic do not speak of the one that later takes its name. */
export interface PlacedOffset extends TopicPartition {
  readonly topicId: string;
  readonly offset: number;
}

interface KnownOffset {
  readonly name: string;
  readonly topicId: string;
  /** No lower since the last acknowledgement or rewind. */
  floor: number;
  /** All that anyone asked to commit. */
  readonly asked: Set<number>;
  /** Rewinds under way. */
  readonly rewinds: number[];
}

/** A partition of a topic, not of its name. */
export function placeOf({ topicId, partition }: { topicId: string; partition: number }): string {
  return `${topicId}/${partition}`;
}

export function keyOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`;
}

export class CommitLedger {
  readonly #offsets = new Map<string, KnownOffset>();

  constructor(private readonly world: RunWorld, readonly group: string) {}

  readonly #maybeDeleted = new Set<string>();
  #lateStarted = 0;
  #lateSettled = 0;

  /** Call when a commit is put off on purpose; the returned function once it has its answer. */
  lateCommit(): () => void {
    this.#lateStarted++;
    return () => {
      this.#lateSettled++;
    };
  }

  /** Asks later whether a late commit was under way at this time or after. */
  watchLateCommits(): () => boolean {
    const settled = this.#lateSettled;
    return () => this.#lateStarted > settled;
  }

  /** Call right before a commit is sent; the returned function with its answer, null for none. */
  committing(
    offsets: readonly PlacedOffset[],
    isRewind: boolean,
  ): (reply: CommitReply | null) => void {
    const floors = offsets.map((at) => this.floorOf(at));
    for (const at of offsets) {
      const known = this.#known(at);
      known.asked.add(at.offset);
      if (isRewind) known.rewinds.push(at.offset);
    }
    return (reply) => {
      offsets.forEach((at, index) => {
        const known = this.#known(at);
        if (isRewind) {
          known.rewinds.splice(known.rewinds.indexOf(at.offset), 1);
          known.floor = Math.min(known.floor, at.offset);
        } else if (reply !== null) known.floor = Math.max(known.floor, at.offset);
        if (reply === null || isRewind) return;
        const { previous } = reply.results[index]!;
        this.#checkOffset(at, previous, Math.min(floors[index]!, this.floorOf(at)));
      });
    };
  }

  /** What the committed offset can be no lower than; -1 when it need not be there. */
  floorOf(at: TopicPartition & { readonly topicId: string }): number {
    return this.#floorIn(this.#known(at));
  }

  /** `offset` was found committed; `floor` is what `floorOf` said when it was asked for. */
  found(
    at: TopicPartition & { readonly topicId: string },
    offset: number | null,
    floor: number,
  ): void {
    this.#checkOffset(at, offset, Math.min(floor, this.floorOf(at)));
  }

  /** What `floorOf` says of each partition of which anything is known. */
  floors(): Map<string, number> {
    return new Map([...this.#offsets].map(([place, known]) => [place, this.#floorIn(known)]));
  }

  /** No offset was found at `place`; `floor` is what `floors` said when it was asked for. */
  missing(place: string, floor: number): void {
    const known = this.#offsets.get(place)!;
    if (Math.min(floor, this.#floorIn(known)) < 0) return;
    this.world.violation(
      `committed offset of ${this.group} ${known.name} is gone, ${floor} was acknowledged`,
    );
  }

  /** From now on nothing is promised for the topic's offsets. */
  topicMayBeDeleted(topicId: string): void {
    this.#maybeDeleted.add(topicId);
  }

  #checkOffset(
    at: TopicPartition & { readonly topicId: string },
    offset: number | null,
    floor: number,
  ): void {
    const known = this.#known(at);
    const name = `${this.group} ${keyOf(at)}`;
    if ((offset ?? -1) < floor) {
      this.world.violation(`committed offset of ${name} is ${offset}, ${floor} was acknowledged`);
    }
    if (offset !== null && !this.#maybeDeleted.has(at.topicId) && !known.asked.has(offset)) {
      this.world.violation(`committed offset of ${name} is ${offset}, which nobody committed`);
    }
  }

  #known(at: TopicPartition & { readonly topicId: string }): KnownOffset {
    const known = this.#offsets.get(placeOf(at)) ??
      {
        name: keyOf(at),
        topicId: at.topicId,
        floor: -1,
        asked: new Set<number>(),
        rewinds: [],
      };
    this.#offsets.set(placeOf(at), known);
    return known;
  }

  #floorIn({ topicId, floor, rewinds }: KnownOffset): number {
    return this.#maybeDeleted.has(topicId) ? -1 : Math.min(floor, ...rewinds);
  }
}
