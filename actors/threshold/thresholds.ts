// Owns the settings of thresholds: what was changed of the defaults, kept in the metadata store.
// Refuses to own keeping itself (runtime/kept_entries.ts) and judging by them (decide.ts).
// Invariant: every threshold there is has settings at any time; what was put is durable.
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Clock, Timers } from "../../storage/ports.ts";
import { type EntryChange, KeptEntries } from "../runtime/kept_entries.ts";
import { KNOWN_THRESHOLDS } from "./defaults.ts";
import type { NewThreshold, Threshold, ThresholdName, ThresholdSettings } from "./types.ts";

/** What is kept of a threshold that was changed. */
interface KeptThreshold {
  readonly name: ThresholdName;
  readonly settings: ThresholdSettings;
  readonly updatedAt: number;
  readonly updatedBy: string;
}

type ThresholdCommand =
  | { readonly type: "PutThreshold"; readonly put: NewThreshold; readonly at: number }
  | { readonly type: "ResetThreshold"; readonly name: ThresholdName };

type ThresholdEvent =
  | { readonly type: "ThresholdPut"; readonly kept: KeptThreshold }
  | { readonly type: "ThresholdReset"; readonly name: ThresholdName };

function decide(_kept: unknown, command: ThresholdCommand): ThresholdEvent {
  if (command.type === "ResetThreshold") return { type: "ThresholdReset", name: command.name };
  const { put: { name, settings, updatedBy }, at } = command;
  return { type: "ThresholdPut", kept: { name, settings, updatedAt: at, updatedBy } };
}

function changeOf(event: ThresholdEvent): EntryChange<KeptThreshold> {
  return event.type === "ThresholdPut"
    ? { id: event.kept.name, entry: event.kept }
    : { id: event.name, entry: null };
}

export class Thresholds {
  #all: readonly Threshold[] = [];

  private constructor(
    private readonly kept: KeptEntries<KeptThreshold, ThresholdCommand, ThresholdEvent>,
    private readonly clock: Clock,
  ) {
    this.#read();
    kept.onChanged(() => this.#read());
  }

  /** Reads what was changed. */
  static async open(
    { metadata, clock, timers }: { metadata: MetadataStore; clock: Clock; timers: Timers },
  ): Promise<Thresholds> {
    const kept = await KeptEntries.open<KeptThreshold, ThresholdCommand, ThresholdEvent>({
      name: "thresholds",
      prefix: ["thresholds"],
      metadata,
      timers,
      rules: { decide, changeOf },
    });
    return new Thresholds(kept, clock);
  }

  /** In the order of THRESHOLD_NAMES; from memory. */
  list(): readonly Threshold[] {
    return this.#all;
  }

  find(name: ThresholdName): Threshold {
    return this.#all.find((threshold) => threshold.name === name)!;
  }

  async put(put: NewThreshold): Promise<Threshold> {
    await this.kept.change({ type: "PutThreshold", put, at: this.clock.now() });
    return this.find(put.name);
  }

  async reset(name: ThresholdName): Promise<Threshold> {
    await this.kept.change({ type: "ResetThreshold", name });
    return this.find(name);
  }

  onChanged(listener: () => void): () => void {
    return this.kept.onChanged(listener);
  }

  close(): Promise<void> {
    return this.kept.close();
  }

  #read(): void {
    this.#all = [...KNOWN_THRESHOLDS].map(([name, { definition, defaults }]) => {
      const changed = this.kept.entries.get(name);
      return {
        ...definition,
        ...defaults,
        // Settings that an older release did not know are as by default.
        ...changed?.settings,
        updatedAt: changed?.updatedAt ?? null,
        updatedBy: changed?.updatedBy ?? null,
      };
    });
  }
}
