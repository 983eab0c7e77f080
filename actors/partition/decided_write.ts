// Owns turning what waits to be appended into what is to be written, decision by decision.
// Refuses to own the rules (decide.ts, producer_state.ts) and writing (partition.ts).
// Invariant: an item is decided as a whole; batches of no producer cost one look at a byte each.
import { encodeMarker } from "../../storage/format/control_batch.ts";
import { hasProducer, lastOffsetDeltaAt } from "../../storage/format/record_batch.ts";
import type { Clock, Crc32c } from "../../storage/ports.ts";
import type { AppendReceipt } from "../broker.ts";
import {
  type AppendDecision,
  decideAppend,
  decideMarkerAppend,
  decideProducerAppend,
  type PartitionState,
} from "./decide.ts";
import type { PartitionProducers } from "./partition_producers.ts";
import type { ProducerCensus } from "./producer_census.ts";
import { producerOfBatch } from "./producer_headers.ts";
import type { MarkerCommand } from "./producer_state.ts";
import type { ProducerDraft } from "./producer_table.ts";
import type { KeysTerm } from "./types.ts";

/** What one caller wants appended. */
export interface AppendItem {
  readonly batches: readonly Uint8Array[];
  readonly leaderEpoch: number;
  /** Of the home of keys that has decided it. */
  readonly keysTerm?: KeysTerm | undefined;
  /** The end of a transaction, to be appended instead of batches. */
  readonly marker?: MarkerCommand;
  /** acks "none": called with the offsets before they are durable. */
  readonly onAssigned: ((receipt: AppendReceipt) => void) | null;
}

/** What to append, decided. */
export interface DecidedWrite {
  readonly decision: AppendDecision;
  /** By `decision.baseOffsets`; those that `decision.duplicates` names are not to be written. */
  readonly written: readonly Uint8Array[];
}

export interface DecisionOptions {
  readonly clock: Clock;
  readonly crc32c: Crc32c;
  readonly census: ProducerCensus;
  readonly producers: Pick<PartitionProducers, "isFull">;
  /** The producers as they are once all that was decided before is durable. */
  readonly draft: ProducerDraft;
}

/** Decides one item. Errors of decideAppend, decideProducerAppend and decideMarkerAppend. */
export function decideWrite(
  state: PartitionState,
  item: AppendItem,
  options: DecisionOptions,
): DecidedWrite {
  const { batches, leaderEpoch, marker } = item;
  if (marker !== undefined) return decidedMarker(state, { leaderEpoch, marker }, options);
  if (!batches.some((batch) => hasProducer(batch, 0))) {
    const lastOffsetDeltas = batches.map((batch) => lastOffsetDeltaAt(batch, 0));
    return { decision: decideAppend(state, { leaderEpoch, lastOffsetDeltas }), written: batches };
  }
  const { clock, census, producers, draft } = options;
  const facts = batches.map((batch) => ({
    lastOffsetDelta: lastOffsetDeltaAt(batch, 0),
    producer: producerOfBatch(batch, 0),
  }));
  const at = clock.monotonic();
  const command = { leaderEpoch, batches: facts, at, mayOpen: !producers.isFull };
  const decision = decideProducerAppend(state, command, draft);
  census.suppressed(decision.duplicates.filter(Boolean).length);
  return { decision, written: batches };
}

function decidedMarker(
  state: PartitionState,
  { leaderEpoch, marker }: { leaderEpoch: number; marker: MarkerCommand },
  { clock, crc32c, draft }: DecisionOptions,
): DecidedWrite {
  const at = clock.monotonic();
  const decision = decideMarkerAppend(state, { leaderEpoch, marker, at }, draft);
  if (decision.baseOffsets.length === 0) return { decision, written: [] };
  return { decision, written: [encodeMarker({ ...marker, timestamp: clock.now() }, crc32c)] };
}
