// Owns when one log is compacted: one compaction at a time, none while the log is cut, and what is remembered between two.
// Refuses to own what a compaction does (compactor.ts).
// Invariant: what a cut may take away does not count as compacted, durably, before it is cut.
import type { CompactionPolicy, CompactionResult } from "../log.ts";
import type { CheckpointFile } from "./checkpoint.ts";
import { CleanPoints } from "./clean_points.ts";
import { Compactor, type SegmentSwap } from "./compactor.ts";
import type { LogEnvironment, LogState } from "./log_environment.ts";

export interface LogCompactionParts {
  readonly checkpointFile: CheckpointFile;
  /** Brings the checkpoint forward; throws when the log cannot be written. */
  before(): Promise<void>;
  isStopped(): boolean;
  /** In its turn: see Upkeep.swapIn. */
  swap(swap: SegmentSwap): Promise<boolean>;
}

export class LogCompaction {
  #running: Promise<CompactionResult> | null = null;
  #cutsWaiting = 0;
  #points: CleanPoints | null = null;

  constructor(
    private readonly env: LogEnvironment,
    private readonly state: LogState,
    private readonly parts: LogCompactionParts,
  ) {}

  /** See Log.compact. A second call before the first has settled throws. */
  async run(policy: CompactionPolicy): Promise<CompactionResult> {
    if (this.#running !== null) {
      throw new Error(`two compactions of log ${this.state.name} at once`);
    }
    this.#running = this.#run(policy);
    try {
      return await this.#running;
    } finally {
      this.#running = null;
    }
  }

  /** Resolves when none is under way; those that `isStopped` tells to end soon. */
  async settled(): Promise<void> {
    await this.#running?.catch(() => undefined);
  }

  /** Runs `cut`, which cuts the log back to `offset`, without any compaction meanwhile. */
  async whileCutting(offset: number, cut: () => Promise<void>): Promise<void> {
    this.#cutsWaiting++;
    try {
      await this.settled();
      // A cut goes back to the start of a batch, which after a compaction may be anywhere below.
      const isCompacted = offset < this.state.segments.active.baseOffset;
      if (isCompacted) await (await this.#loadedPoints()).forget();
      await cut();
    } finally {
      this.#cutsWaiting--;
    }
  }

  async #run(policy: CompactionPolicy): Promise<CompactionResult> {
    const { env, state, parts } = this;
    await parts.before();
    const { maxKeyMapBytes } = env;
    const compactor = new Compactor(env, state, {
      points: await this.#loadedPoints(),
      ...(maxKeyMapBytes === undefined ? {} : { maxKeyMapBytes }),
      cleanableEnd: () => parts.checkpointFile.current?.segmentBase ?? 0,
      isStopped: () => this.#cutsWaiting > 0 || parts.isStopped(),
      swap: (swap) => parts.swap(swap),
    });
    return await compactor.run(policy);
  }

  async #loadedPoints(): Promise<CleanPoints> {
    if (this.#points !== null) return this.#points;
    const points = new CleanPoints(this.env, this.state.directory);
    await points.load(this.state.logEndOffset);
    return this.#points = points;
  }
}
