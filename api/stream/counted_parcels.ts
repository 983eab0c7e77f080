// Owns telling telemetry of the messages that a stream delivers.
// Refuses to own making and sending them (parcels.ts, reader.ts).
// Invariant: a parcel is told when it is accepted, which is when it is sent; it is passed on as it is.
import type { Clock } from "../../storage/ports.ts";
import { ageMsAt, NO_TELEMETRY, type Telemetry } from "../telemetry.ts";
import type { OffsetRange } from "./offset_ranges.ts";
import type { Parcels, Source } from "./parcels.ts";
import type { TopicPartition } from "../../actors/broker.ts";

export interface CountedParcelsOptions {
  readonly telemetry: Telemetry;
  readonly clock: Pick<Clock, "now">;
  readonly group: string;
  /** Asked at each delivery: it is known once the group has let the member in. */
  readonly member: () => string | null;
}

/** `parcels`, of which `options.telemetry` is told. */
export function countedParcels(parcels: Parcels, options: CountedParcelsOptions): Parcels {
  const { telemetry, clock, group, member } = options;
  if (telemetry === NO_TELEMETRY) return parcels;
  const tell = (at: TopicPartition, frame: string | Uint8Array, about: About) =>
    telemetry.delivered({
      group,
      member: member(),
      topic: at.topic,
      partition: at.partition,
      spans: about.spans,
      attempt: about.attempt,
      messages: messagesOf(about.spans),
      bytes: frame.length,
      ageMs: ageMsAt(clock.now(), about.newestMs),
      path: "websocket",
    });
  return {
    open(at, fetched, position) {
      return countedSource(parcels.open(at, fetched, position), at, tell);
    },
    redelivery(at, fetched, redelivery) {
      const frame = parcels.redelivery(at, fetched, redelivery);
      // How old a message is that comes again says nothing of how fast it is delivered.
      if (frame !== null) {
        const { offset, attempt } = redelivery;
        tell(at, frame, { spans: [{ from: offset, to: offset + 1 }], attempt, newestMs: -1 });
      }
      return frame;
    },
  };
}

interface About {
  readonly spans: readonly OffsetRange[];
  readonly attempt: number;
  readonly newestMs: number;
}

function countedSource(
  source: Source,
  at: TopicPartition,
  tell: (at: TopicPartition, frame: string | Uint8Array, about: About) => void,
): Source {
  return {
    get sizeBytes() {
      return source.sizeBytes;
    },
    highWatermark: source.highWatermark,
    get position() {
      return source.position;
    },
    next: (options) => source.next(options),
    accept: (parcel) => {
      source.accept(parcel);
      const { frame, newestMs, runs: spans } = parcel;
      if (frame !== null) tell(at, frame, { spans, attempt: 1, newestMs });
    },
  };
}

function messagesOf(spans: readonly OffsetRange[]): number {
  let messages = 0;
  for (const { from, to } of spans) messages += to - from;
  return messages;
}
