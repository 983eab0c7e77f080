// Owns how a request's batches reach a partition: directly on a broker alone, through `Reach` in a cluster, where it may be
// led anywhere.
// Refuses to own requests (request_keys.ts) and what a partition refuses of an older home (../partition/key_fence.ts).
// Invariant: after `settle` all that earlier attempts have appended lies in `readable`, and nothing more of theirs comes.
import type {
  AppendReceipt,
  FetchOptions,
  FetchResult,
  PartitionInfo,
  TopicPartition,
} from "../broker.ts";
import type { KeysTerm, OffsetRange } from "../partition/types.ts";
import type { Reach } from "../reach.ts";

/** A broker's own partition is one. */
export interface RequestPartition {
  append(
    batches: readonly Uint8Array[],
    options: { readonly acks: "all" },
  ): Promise<AppendReceipt>;
  fetch(offset: number, options: FetchOptions): Promise<FetchResult>;
  readable(): OffsetRange | Promise<OffsetRange>;
  info(): PartitionInfo | Promise<PartitionInfo>;
  /** Left out where nothing can come late. */
  settle?(): Promise<void>;
}

/** As the home of requests reaches it in one append. */
export class ReachedRequestPartition implements RequestPartition {
  #settled: OffsetRange | null = null;

  constructor(
    private readonly reach: Pick<Reach, "append" | "fetch" | "partitionInfo" | "fenceKeys">,
    private readonly at: TopicPartition,
    private readonly keysTerm: KeysTerm,
  ) {}

  append(batches: readonly Uint8Array[]): Promise<AppendReceipt> {
    return this.reach.append(this.at, batches, { keysTerm: this.keysTerm });
  }

  fetch(offset: number, options: FetchOptions): Promise<FetchResult> {
    return this.reach.fetch(this.at, offset, options);
  }

  async readable(): Promise<OffsetRange> {
    if (this.#settled !== null) return this.#settled;
    const { logStartOffset, highWatermark } = await this.info();
    return { startOffset: logStartOffset, endOffset: highWatermark };
  }

  info(): Promise<PartitionInfo> {
    return this.reach.partitionInfo(this.at);
  }

  async settle(): Promise<void> {
    this.#settled = await this.reach.fenceKeys(this.at, this.keysTerm);
  }
}
