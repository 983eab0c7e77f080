// Owns the actor that keeps API keys, in the metadata store and in memory, one change after the other.
// Refuses to own what a change means (decide.ts) and whether a key opens anything (api/auth/).
// Invariant: a change is durable before anyone sees it; after one with an unknown outcome the store is read again
// before the next.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import type { Clock } from "../../storage/ports.ts";
import { GroupCommit } from "../runtime/group_commit.ts";
import {
  type AccessKeyCommand,
  type AccessKeyEvent,
  type AccessKeyState,
  decideAccessKeys,
  evolveAccessKeys,
  tenantsIn,
} from "./decide.ts";
import type { AccessKey, AccessKeys, NewAccessKey } from "./types.ts";

/** All of them are in memory, about 500 bytes each. */
const MAX_KEYS = 10_000;
/** Changes that may wait at once; more are refused with OVERLOADED. */
const MAX_PENDING_CHANGES = 1_000;
/** Times a change is decided again after another writer came first. */
const MAX_CONFLICT_RETRIES = 5;
const PREFIX: MetadataKey = ["access-keys"];

export interface AccessKeysPorts {
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  /** Default: MAX_KEYS. */
  readonly maxKeys?: number;
}

export class LocalAccessKeys implements AccessKeys {
  private state: AccessKeyState = new Map();
  /** The store may hold a change that is not known here. */
  private stale = false;
  private readonly listeners = new Set<() => void>();
  private readonly changes: GroupCommit<AccessKeyCommand, AccessKeyEvent>;

  private constructor(private readonly ports: AccessKeysPorts) {
    this.changes = new GroupCommit<AccessKeyCommand, AccessKeyEvent>({
      name: "access-keys",
      maxWaiting: MAX_PENDING_CHANGES,
      maxWaitingBytes: MAX_PENDING_CHANGES,
      maxDrain: 1,
      maxDrainBytes: 1,
      run: async ([command]) => [await this.apply(command!)],
    });
  }

  /** Reads all keys. */
  static async open(ports: AccessKeysPorts): Promise<LocalAccessKeys> {
    const keys = new LocalAccessKeys(ports);
    await keys.reload();
    return keys;
  }

  async create(key: NewAccessKey): Promise<AccessKey> {
    const command = { type: "CreateKey" as const, key, at: this.ports.clock.now() };
    const event = await this.changes.submit(command, 1);
    if (event.type !== "KeyCreated") throw new Error(`creating a key made ${event.type}`);
    return event.key;
  }

  async delete(keyId: string): Promise<void> {
    await this.changes.submit({ type: "DeleteKey", keyId }, 1);
  }

  find(keyId: string): AccessKey | null {
    return this.state.get(keyId) ?? null;
  }

  tenantOf(principal: string): string | null {
    return tenantsIn(this.state).get(principal) ?? null;
  }

  list(): readonly AccessKey[] {
    return [...this.state.values()].sort((a, b) => compare(orderOf(a), orderOf(b)));
  }

  onDeleted(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Refuses new changes (SHUTTING_DOWN); resolves when those accepted before have settled. */
  close(): Promise<void> {
    return this.changes.finish(new BrokerError("SHUTTING_DOWN", "the broker is shutting down"));
  }

  private async apply(command: AccessKeyCommand): Promise<AccessKeyEvent> {
    const maxKeys = this.ports.maxKeys ?? MAX_KEYS;
    if (this.stale) await this.reload();
    for (let attempt = 0; attempt <= MAX_CONFLICT_RETRIES; attempt++) {
      const event = decideAccessKeys(this.state, command, { maxKeys });
      if (await this.keep(event)) {
        this.state = evolveAccessKeys(this.state, event);
        if (event.type === "KeyDeleted") this.announce();
        return event;
      }
      await this.reload();
    }
    throw new BrokerError(
      "METADATA_CONFLICT",
      `${command.type} lost against other changes of the API keys ${MAX_CONFLICT_RETRIES} times`,
    );
  }

  private async keep(event: AccessKeyEvent): Promise<boolean> {
    const { metadata } = this.ports;
    const key = [...PREFIX, event.type === "KeyCreated" ? event.key.keyId : event.keyId];
    try {
      if (event.type === "KeyCreated") {
        const sets = [{ key, value: event.key }];
        return await metadata.commit({ checks: [{ key, version: null }], sets });
      }
      const entry = await metadata.get(key);
      if (entry === null) return false;
      const checks = [{ key, version: entry.version }];
      return await metadata.commit({ checks, deletes: [key] });
    } catch (error) {
      this.stale = true;
      throw error;
    }
  }

  private async reload(): Promise<void> {
    const entries = await this.ports.metadata.list(PREFIX);
    const before = this.state;
    this.stale = false;
    this.state = new Map(entries.map(({ key, value }) => [key.at(-1)!, value as AccessKey]));
    for (const keyId of before.keys()) {
      if (!this.state.has(keyId)) return this.announce();
    }
  }

  private announce(): void {
    for (const listener of this.listeners) listener();
  }
}

/** Principals have no spaces, and every character they may have comes after it. */
function orderOf({ principal, keyId }: AccessKey): string {
  return `${principal} ${keyId}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
