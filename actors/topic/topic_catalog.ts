// Owns the topic catalog: the actor that keeps every topic in the metadata store and in memory.
// Refuses to own what a change means (decide.ts) and the partitions themselves (../partition/).
// Invariant: a change is in the metadata store before anyone sees it, and everyone hears of each: what other brokers change,
// and what became of a change of which the store did not say so, is read and announced within a moment.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import type { Timers } from "../../storage/ports.ts";
import type { Topic } from "../broker.ts";
import { type EntryNews, SharedEntries } from "../runtime/shared_entries.ts";
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
const TOPICS: MetadataKey = ["topics"];
const REMOVING: MetadataKey = ["removed-topics"];

export interface TopicCatalogPorts {
  readonly metadata: MetadataStore;
  readonly timers: Timers;
}

export class TopicCatalog {
  private state: CatalogState = EMPTY_CATALOG;
  private sortedNames: readonly string[] = [];
  private readonly listeners = new Set<(event: CatalogEvent) => void>();
  private readonly changes: GroupCommit<CatalogCommand, CatalogEvent[]>;
  private readonly followed: SharedEntries;

  private constructor({ metadata, timers }: TopicCatalogPorts) {
    this.changes = new GroupCommit<CatalogCommand, CatalogEvent[]>({
      name: "topic-catalog",
      maxWaiting: MAX_PENDING_CHANGES,
      maxWaitingBytes: MAX_PENDING_CHANGES,
      maxDrain: 1,
      maxDrainBytes: 1,
      run: async ([command]) => {
        if (command !== undefined) return [await this.apply(command)];
        await this.catchUp();
        return [];
      },
    });
    const onNews = () => this.changes.wake();
    this.followed = new SharedEntries({ metadata, timers, prefixes: [TOPICS, REMOVING], onNews });
  }

  /** Reads the whole catalog. */
  static async open(ports: TopicCatalogPorts): Promise<TopicCatalog> {
    const catalog = new TopicCatalog(ports);
    try {
      await catalog.catchUp();
    } catch (error) {
      catalog.followed.close();
      throw error;
    }
    return catalog;
  }

  /** Decides and keeps one change; resolves to what happened. Rejects with BrokerError. */
  execute(command: CatalogCommand): Promise<CatalogEvent[]> {
    return this.changes.submit(command, 1);
  }

  /** Refuses new changes (SHUTTING_DOWN); resolves when those accepted before have settled. */
  close(): Promise<void> {
    this.followed.close();
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
      await this.catchUp();
      const events = decideCatalog(this.state, command);
      if (events.length === 0) return events;
      if (await this.followed.commit(events.flatMap(changesOf))) {
        for (const event of events) this.state = evolveCatalog(this.state, event);
        this.show(events);
        return events;
      }
    }
    throw new BrokerError(
      "METADATA_CONFLICT",
      `${command.type} lost against other changes of the catalog ${MAX_CONFLICT_RETRIES} times`,
    );
  }

  private async catchUp(): Promise<void> {
    const news = await this.followed.catchUp();
    if (news.length === 0) return;
    const before = this.state;
    this.state = stateAfter(before, news);
    this.show(differences(before, this.state, news));
  }

  private show(events: readonly CatalogEvent[]): void {
    this.sortedNames = [...this.state.topics.keys()].sort();
    for (const event of events) {
      for (const listener of this.listeners) listener(event);
    }
  }
}

/** Entries of the store that `event` changes. */
function changesOf(event: CatalogEvent): EntryNews[] {
  if (event.type === "TopicRemoved") return [{ key: [...REMOVING, event.topicId], value: null }];
  const { topic } = event;
  if (event.type !== "TopicDeleted") return [{ key: [...TOPICS, topic.name], value: topic }];
  const { topicId, name, partitionCount } = topic;
  return [
    { key: [...TOPICS, name], value: null },
    { key: [...REMOVING, topicId], value: { topicId, name, partitionCount } },
  ];
}

function stateAfter(before: CatalogState, news: readonly EntryNews[]): CatalogState {
  const topics = new Map(before.topics);
  const removing = new Map(before.removing);
  for (const { key: [place, id], value } of news) {
    const entries: Map<string, unknown> = place === TOPICS[0] ? topics : removing;
    if (value === null) entries.delete(id!);
    else entries.set(id!, value);
  }
  return { topics, removing };
}

/** What happened between two states as far as others must know, deletions first: a name may have been taken anew. */
function differences(
  before: CatalogState,
  after: CatalogState,
  news: readonly EntryNews[],
): CatalogEvent[] {
  const deleted: CatalogEvent[] = [];
  const others: CatalogEvent[] = [];
  for (const { key: [place, name] } of news) {
    if (place !== TOPICS[0]) continue;
    const old = before.topics.get(name!);
    const topic = after.topics.get(name!);
    const isSame = old?.topicId === topic?.topicId;
    if (old !== undefined && !isSame) deleted.push({ type: "TopicDeleted", topic: old });
    if (topic !== undefined) others.push({ type: isSame ? "TopicChanged" : "TopicCreated", topic });
  }
  return [...deleted, ...others];
}
