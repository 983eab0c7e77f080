// Owns the API keys of this broker: the port over the set that is kept of them.
// Refuses to own what a change means (decide.ts), keeping it (runtime/kept_entries.ts) and whether a key opens anything
// (api/auth/).
// Invariant: what is found is durable, and what is deleted is found no more.
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Clock, Timers } from "../../storage/ports.ts";
import { KeptEntries } from "../runtime/kept_entries.ts";
import {
  type AccessKeyCommand,
  type AccessKeyEvent,
  changeOfAccessKeys,
  decideAccessKeys,
  tenantsIn,
} from "./decide.ts";
import type { AccessKey, AccessKeys, NewAccessKey } from "./types.ts";

/** All of them are in memory, about 500 bytes each. */
const MAX_KEYS = 10_000;

export interface AccessKeysPorts {
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Default: MAX_KEYS. */
  readonly maxKeys?: number;
}

export class LocalAccessKeys implements AccessKeys {
  private constructor(
    private readonly kept: KeptEntries<AccessKey, AccessKeyCommand, AccessKeyEvent>,
    private readonly clock: Clock,
  ) {}

  /** Reads all keys. */
  static async open(
    { metadata, clock, timers, maxKeys = MAX_KEYS }: AccessKeysPorts,
  ): Promise<LocalAccessKeys> {
    const kept = await KeptEntries.open<AccessKey, AccessKeyCommand, AccessKeyEvent>({
      name: "API keys",
      prefix: ["access-keys"],
      metadata,
      timers,
      rules: {
        decide: (state, command) => decideAccessKeys(state, command, { maxKeys }),
        changeOf: changeOfAccessKeys,
      },
    });
    return new LocalAccessKeys(kept, clock);
  }

  async create(key: NewAccessKey): Promise<AccessKey> {
    const event = await this.kept.change({ type: "CreateKey", key, at: this.clock.now() });
    if (event.type !== "KeyCreated") throw new Error(`creating a key made ${event.type}`);
    return event.key;
  }

  async delete(keyId: string): Promise<void> {
    await this.kept.change({ type: "DeleteKey", keyId });
  }

  find(keyId: string): AccessKey | null {
    return this.kept.entries.get(keyId) ?? null;
  }

  tenantOf(principal: string): string | null {
    return tenantsIn(this.kept.entries).get(principal) ?? null;
  }

  list(): readonly AccessKey[] {
    return [...this.kept.entries.values()].sort((a, b) => compare(orderOf(a), orderOf(b)));
  }

  onDeleted(listener: () => void): () => void {
    let known = this.kept.entries;
    return this.kept.onChanged(() => {
      const before = known;
      known = this.kept.entries;
      if (before.keys().some((keyId) => !known.has(keyId))) listener();
    });
  }

  /** Refuses new changes (SHUTTING_DOWN); resolves when those accepted before have settled. */
  close(): Promise<void> {
    return this.kept.close();
  }
}

/** Principals have no spaces, and every character they may have comes after it. */
function orderOf({ principal, keyId }: AccessKey): string {
  return `${principal} ${keyId}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
