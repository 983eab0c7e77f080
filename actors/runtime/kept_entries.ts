// Owns a small set of entries in the metadata store and in memory, changed one after the other by compare-and-set.
// Refuses to own what a change means: the decider that is handed in says (ACLs, quotas).
// Invariant: a change is durable before anyone sees it; after one with an unknown outcome the store is read again
// before the next.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import { GroupCommit } from "./group_commit.ts";

/** Changes that may wait at once; more are refused with OVERLOADED. */
const MAX_PENDING_CHANGES = 1_000;
/** Times a change is decided again after another writer came first. */
const MAX_CONFLICT_RETRIES = 5;

/** What an event makes of one entry: sets it, or with null removes it. */
export interface EntryChange<Entry> {
  readonly id: string;
  readonly entry: Entry | null;
}

/** A decider over the set. Pure. */
export interface EntryRules<Entry, Command, Event> {
  /** What happens, or a BrokerError thrown. */
  decide(entries: ReadonlyMap<string, Entry>, command: Command): Event;
  /** Null: nothing changes. */
  changeOf(event: Event): EntryChange<Entry> | null;
}

export interface KeptEntriesOptions<Entry, Command, Event> {
  /** What the entries are, for messages: "ACLs". */
  readonly name: string;
  /** The set's place in the store; an entry's key is this and its id. */
  readonly prefix: MetadataKey;
  readonly metadata: MetadataStore;
  readonly rules: EntryRules<Entry, Command, Event>;
}

/** Entries are plain JSON data. */
export class KeptEntries<Entry, Command extends { readonly type: string }, Event> {
  #entries: ReadonlyMap<string, Entry> = new Map();
  /** The store may hold a change that is not known here. */
  #stale = false;
  readonly #listeners = new Set<() => void>();
  readonly #changes: GroupCommit<Command, Event>;
  readonly #options: KeptEntriesOptions<Entry, Command, Event>;

  private constructor(options: KeptEntriesOptions<Entry, Command, Event>) {
    this.#options = options;
    this.#changes = new GroupCommit<Command, Event>({
      name: options.prefix.join("/"),
      maxWaiting: MAX_PENDING_CHANGES,
      maxWaitingBytes: MAX_PENDING_CHANGES,
      maxDrain: 1,
      maxDrainBytes: 1,
      run: async ([command]) => [await this.#apply(command!)],
    });
  }

  /** Reads all entries. */
  static async open<Entry, Command extends { readonly type: string }, Event>(
    options: KeptEntriesOptions<Entry, Command, Event>,
  ): Promise<KeptEntries<Entry, Command, Event>> {
    const kept = new KeptEntries(options);
    await kept.#reload();
    return kept;
  }

  /** By id, from memory; another map after each change. */
  get entries(): ReadonlyMap<string, Entry> {
    return this.#entries;
  }

  /** Resolves when what was decided is durable. Rejects as the decider throws; METADATA_CONFLICT, OVERLOADED, SHUTTING_DOWN. */
  change(command: Command): Promise<Event> {
    return this.#changes.submit(command, 1);
  }

  /** Calls back after each change, until the returned function is called. */
  onChanged(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Refuses new changes (SHUTTING_DOWN); resolves when those accepted before have settled. */
  close(): Promise<void> {
    return this.#changes.finish(new BrokerError("SHUTTING_DOWN", "the broker is shutting down"));
  }

  async #apply(command: Command): Promise<Event> {
    const { rules, name } = this.#options;
    if (this.#stale) await this.#reload();
    for (let attempt = 0; attempt <= MAX_CONFLICT_RETRIES; attempt++) {
      const event = rules.decide(this.#entries, command);
      const change = rules.changeOf(event);
      if (change === null) return event;
      if (await this.#keep(change)) {
        this.#evolve(change);
        return event;
      }
      await this.#reload();
    }
    throw new BrokerError(
      "METADATA_CONFLICT",
      `${command.type} lost against other changes of the ${name} ${MAX_CONFLICT_RETRIES} times`,
    );
  }

  /** False when the store does not hold what is known here. */
  async #keep({ id, entry }: EntryChange<Entry>): Promise<boolean> {
    const { metadata, prefix } = this.#options;
    const key = [...prefix, id];
    try {
      const stored = await metadata.get(key);
      const known = this.#entries.get(id);
      if (JSON.stringify(stored?.value) !== JSON.stringify(known)) return false;
      const checks = [{ key, version: stored?.version ?? null }];
      return await metadata.commit(
        entry === null ? { checks, deletes: [key] } : { checks, sets: [{ key, value: entry }] },
      );
    } catch (error) {
      this.#stale = true;
      throw error;
    }
  }

  #evolve({ id, entry }: EntryChange<Entry>): void {
    const next = new Map(this.#entries);
    if (entry === null) next.delete(id);
    else next.set(id, entry);
    this.#entries = next;
    this.#announce();
  }

  async #reload(): Promise<void> {
    const found = await this.#options.metadata.list(this.#options.prefix);
    const next = new Map(found.map(({ key, value }) => [key.at(-1)!, value as Entry]));
    this.#stale = false;
    const isSame = JSON.stringify([...next]) === JSON.stringify([...this.#entries]);
    this.#entries = next;
    if (!isSame) this.#announce();
  }

  #announce(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
