// Owns a small set of entries in the metadata store and in memory, changed one after the other by compare-and-set.
// Refuses to own what a change means: the decider that is handed in says (ACLs, quotas); and following the store
// (shared_entries.ts).
// Invariant: a change is durable before anyone sees it; what other brokers change is seen within a moment; after a change
// with an unknown outcome the store is read again before the next.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import type { Timers } from "../../storage/ports.ts";
import { SharedEntries } from "./shared_entries.ts";
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
  readonly timers: Timers;
  readonly rules: EntryRules<Entry, Command, Event>;
}

/** Entries are plain JSON data. */
export class KeptEntries<Entry, Command extends { readonly type: string }, Event> {
  #entries: ReadonlyMap<string, Entry> = new Map();
  readonly #followed: SharedEntries;
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
      run: async ([command]) => {
        if (command !== undefined) return [await this.#apply(command)];
        await this.#catchUp();
        return [];
      },
    });
    const { metadata, timers, prefix } = options;
    const onNews = () => this.#changes.wake();
    this.#followed = new SharedEntries({ metadata, timers, prefixes: [prefix], onNews });
  }

  /** Reads all entries. */
  static async open<Entry, Command extends { readonly type: string }, Event>(
    options: KeptEntriesOptions<Entry, Command, Event>,
  ): Promise<KeptEntries<Entry, Command, Event>> {
    const kept = new KeptEntries(options);
    try {
      await kept.#catchUp();
    } catch (error) {
      kept.#followed.close();
      throw error;
    }
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

  /** Calls back after each change, here or of another broker, until the returned function is called. */
  onChanged(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Refuses new changes (SHUTTING_DOWN); resolves when those accepted before have settled. */
  close(): Promise<void> {
    this.#followed.close();
    return this.#changes.finish(new BrokerError("SHUTTING_DOWN", "the broker is shutting down"));
  }

  async #apply(command: Command): Promise<Event> {
    const { rules, name, prefix } = this.#options;
    for (let attempt = 0; attempt <= MAX_CONFLICT_RETRIES; attempt++) {
      await this.#catchUp();
      const event = rules.decide(this.#entries, command);
      const change = rules.changeOf(event);
      if (change === null) return event;
      const { id, entry } = change;
      if (await this.#followed.commit([{ key: [...prefix, id], value: entry }])) {
        this.#evolve([change]);
        return event;
      }
    }
    throw new BrokerError(
      "METADATA_CONFLICT",
      `${command.type} lost against other changes of the ${name} ${MAX_CONFLICT_RETRIES} times`,
    );
  }

  async #catchUp(): Promise<void> {
    const news = await this.#followed.catchUp();
    this.#evolve(news.map(({ key, value }) => ({ id: key.at(-1)!, entry: value as Entry | null })));
  }

  #evolve(changes: readonly EntryChange<Entry>[]): void {
    if (changes.length === 0) return;
    const next = new Map(this.#entries);
    for (const { id, entry } of changes) {
      if (entry === null) next.delete(id);
      else next.set(id, entry);
    }
    this.#entries = next;
    for (const listener of [...this.#listeners]) listener();
  }
}
