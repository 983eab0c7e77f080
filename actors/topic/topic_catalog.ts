// Owns the topic catalog: the actor that keeps every topic in the metadata store and in memory.
// Refuses to own what a change means (decide.ts) and the partitions themselves (../partition/).
// Invariant: a change is in the metadata store before anyone sees it, and everyone hears of each: on a lost compare-and-set,
// or when the store does not say what became of a change, the state is read anew and what differs is announced.
import { BrokerError } from "../../storage/broker_error.ts";
import type {
  MetadataEntry,
  MetadataKey,
  MetadataStore,
  MetadataTransaction,
} from "../../storage/metadata.ts";
import type { Topic } from "../broker.ts";
import { GroupCommit } from "../runtime/group_commit.ts";
import {
  type CatalogCommand,
  type CatalogEvent,
  type CatalogState,
  decideCatalog,
  EMPTY_CATALOG,
  evolveCatalog,
  type RemovedTopic,
} from "./decide.ts";

/** Changes that may wait at once; more are refused with OVERLOADED. */
const MAX_PENDING_CHANGES = 1_000;
/** Times a change is decided again after another writer came first. */
const MAX_CONFLICT_RETRIES = 5;
/** No change: only reads the store again where that is due. */
const REFRESH = Symbol("refresh");
const TOPICS: MetadataKey = ["topics"];
const REMOVING: MetadataKey = ["removed-topics"];

export class TopicCatalog {
  private state: CatalogState = EMPTY_CATALOG;
  /** Version in the metadata store by joined key. */
  private versions = new Map<string, string>();
  private sortedNames: readonly string[] = [];
  /** The store may hold a change that is not known here. */
  private stale = false;
  private readonly listeners = new Set<(event: CatalogEvent) => void>();
  private readonly changes: GroupCommit<CatalogCommand | typeof REFRESH, CatalogEvent[]>;

  private constructor(private readonly metadata: MetadataStore) {
    this.changes = new GroupCommit<CatalogCommand | typeof REFRESH, CatalogEvent[]>({
      name: "topic-catalog",
      maxWaiting: MAX_PENDING_CHANGES,
      maxWaitingBytes: MAX_PENDING_CHANGES,
      maxDrain: 1,
      maxDrainBytes: 1,
      run: async ([command]) => {
        if (this.stale) await this.reload();
        return [command === REFRESH ? [] : await this.apply(command!)];
      },
    });
  }

  /** Reads the whole catalog. */
  static async open(metadata: MetadataStore): Promise<TopicCatalog> {
    const catalog = new TopicCatalog(metadata);
    await catalog.reload();
    return catalog;
  }

  /** Decides and keeps one change; resolves to what happened. Rejects with BrokerError. */
  execute(command: CatalogCommand): Promise<CatalogEvent[]> {
    return this.changes.submit(command, 1);
  }

  /** Whether a change has an unknown outcome, until the store has been read again. */
  get isStale(): boolean {
    return this.stale;
  }

  /** Reads the store again when a change has an unknown outcome; rejects when that fails too. */
  async refresh(): Promise<void> {
    await this.changes.submit(REFRESH, 1);
  }

  /** Refuses new changes (SHUTTING_DOWN); resolves when those accepted before have settled. */
  close(): Promise<void> {
    return this.changes.finish(new BrokerError("SHUTTING_DOWN", "the topic catalog is closing"));
  }

  topic(name: string): Topic | null {
    return this.state.topics.get(name) ?? null;
  }

  /** Names in order. */
  names(): readonly string[] {
    return this.sortedNames;
  }

  topics(): Iterable<Topic> {
    return this.state.topics.values();
  }

  /** Topics that are deleted but whose data may still be there. */
  removing(): readonly RemovedTopic[] {
    return [...this.state.removing.values()];
  }

  /** Hears every event after it was kept. */
  onEvent(listener: (event: CatalogEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private async apply(command: CatalogCommand): Promise<CatalogEvent[]> {
    for (let attempt = 0; attempt <= MAX_CONFLICT_RETRIES; attempt++) {
      const events = decideCatalog(this.state, command);
      if (events.length === 0) return events;
      if (await this.commit(events)) {
        await this.take(events);
        for (const event of events) this.announce(event);
        return events;
      }
      await this.reload();
    }
    throw new BrokerError(
      "METADATA_CONFLICT",
      `${command.type} lost against other changes of the catalog ${MAX_CONFLICT_RETRIES} times`,
    );
  }

  private async commit(events: readonly CatalogEvent[]): Promise<boolean> {
    try {
      return await this.metadata.commit(this.transaction(events));
    } catch (error) {
      this.stale = true;
      throw error;
    }
  }

  private announce(event: CatalogEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  private transaction(events: readonly CatalogEvent[]): MetadataTransaction {
    const sets: { key: MetadataKey; value: unknown }[] = [];
    const deletes: MetadataKey[] = [];
    for (const event of events) {
      if (event.type === "TopicRemoved") deletes.push([...REMOVING, event.topicId]);
      else if (event.type === "TopicDeleted") {
        const { topicId, name, partitionCount } = event.topic;
        deletes.push([...TOPICS, name]);
        sets.push({ key: [...REMOVING, topicId], value: { topicId, name, partitionCount } });
      } else sets.push({ key: [...TOPICS, event.topic.name], value: event.topic });
    }
    const touched = [...sets.map((set) => set.key), ...deletes];
    const checks = touched.map((key) => ({
      key,
      version: this.versions.get(key.join("/")) ?? null,
    }));
    return { checks, sets, deletes };
  }

  private async take(events: readonly CatalogEvent[]): Promise<void> {
    for (const event of events) this.state = evolveCatalog(this.state, event);
    this.sortedNames = [...this.state.topics.keys()].sort();
    for (const event of events) {
      const keys: MetadataKey[] = event.type === "TopicRemoved"
        ? [[...REMOVING, event.topicId]]
        : event.type === "TopicDeleted"
        ? [[...TOPICS, event.topic.name], [...REMOVING, event.topic.topicId]]
        : [[...TOPICS, event.topic.name]];
      for (const key of keys) await this.learnVersion(key);
    }
  }

  /** The change is kept whatever comes now: a version that is not known makes the next change read the catalog anew. */
  private async learnVersion(key: MetadataKey): Promise<void> {
    this.versions.delete(key.join("/"));
    const entry = await this.metadata.get(key).catch(() => null);
    if (entry !== null) this.versions.set(key.join("/"), entry.version);
  }

  private async reload(): Promise<void> {
    const topics = await this.metadata.list(TOPICS);
    const removing = await this.metadata.list(REMOVING);
    this.stale = false;
    this.versions = new Map(
      [...topics, ...removing].map((entry) => [entry.key.join("/"), entry.version]),
    );
    const before = this.state;
    this.state = {
      topics: new Map(topics.map((entry) => [lastPart(entry), entry.value as Topic])),
      removing: new Map(removing.map((entry) => [lastPart(entry), entry.value as RemovedTopic])),
    };
    this.sortedNames = [...this.state.topics.keys()].sort();
    for (const event of differences(before, this.state)) this.announce(event);
  }
}

/** What happened between two states as far as others must know, deletions first: a name may have been taken anew. */
function differences(before: CatalogState, after: CatalogState): CatalogEvent[] {
  const events: CatalogEvent[] = [];
  for (const [name, topic] of before.topics) {
    if (after.topics.get(name)?.topicId === topic.topicId) continue;
    events.push({ type: "TopicDeleted", topic });
  }
  for (const [name, topic] of after.topics) {
    const old = before.topics.get(name);
    if (old?.topicId !== topic.topicId) events.push({ type: "TopicCreated", topic });
    else if (JSON.stringify(old) !== JSON.stringify(topic)) {
      events.push({ type: "TopicChanged", topic });
    }
  }
  return events;
}

function lastPart(entry: MetadataEntry): string {
  return entry.key[entry.key.length - 1]!;
}
