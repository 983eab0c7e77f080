// Owns proof of the topic catalog's decisions: given events, when a command, then events or a refusal.
import assert from "node:assert/strict";
import type { Topic, TopicConfig } from "../actors/broker.ts";
import {
  type CatalogCommand,
  type CatalogEvent,
  decideCatalog,
  EMPTY_CATALOG,
  evolveCatalog,
  MAX_PARTITIONS,
  MAX_PARTITIONS_OF_TENANT,
  MAX_PARTITIONS_PER_TOPIC,
} from "../actors/topic/decide.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { TOPIC_CONFIG as CONFIG } from "./support/memory_broker.ts";

function topic(name: string, partitionCount = 1): Topic {
  return {
    topicId: `id-${name}`,
    name,
    partitionCount,
    config: CONFIG,
    createdAt: 1,
    internal: name.startsWith("__"),
  };
}

function given(...events: CatalogEvent[]) {
  const state = events.reduce(evolveCatalog, EMPTY_CATALOG);
  return {
    when: (command: CatalogCommand) => ({
      then: (expected: CatalogEvent[]) => assert.deepEqual(decideCatalog(state, command), expected),
      refused: (code: string) =>
        assert.throws(
          () => decideCatalog(state, command),
          (error) => error instanceof BrokerError && error.code === code,
        ),
    }),
    state,
  };
}

function create(name: string, partitions = 1, config: Partial<TopicConfig> = {}): CatalogCommand {
  return {
    type: "CreateTopic",
    topicId: `id-${name}`,
    name,
    partitions,
    config: { ...CONFIG, ...config },
    at: 1,
    brokers: 1,
  };
}

const created = (name: string, partitions = 1): CatalogEvent => ({
  type: "TopicCreated",
  topic: topic(name, partitions),
});

Deno.test("catalog creates a topic", () => {
  given().when(create("orders", 3)).then([created("orders", 3)]);
});

Deno.test("catalog marks topics that start with two underscores as internal", () => {
  given().when(create("__groups")).then([created("__groups")]);
  assert.equal(given(created("__groups")).state.topics.get("__groups")!.internal, true);
});

Deno.test("catalog refuses a name that is taken", () => {
  given(created("orders")).when(create("orders")).refused("TOPIC_ALREADY_EXISTS");
});

Deno.test("catalog refuses more replicas than there are brokers", () => {
  given().when(create("orders", 1, { replicationFactor: 2 })).refused("INVALID_REPLICATION_FACTOR");
});

Deno.test("catalog refuses to wait for more in-sync replicas than there are replicas", () => {
  given().when(create("orders", 1, { minInsyncReplicas: 2 })).refused("INVALID_REPLICATION_FACTOR");
});

Deno.test("catalog takes the most partitions a topic may have and refuses one more", () => {
  given().when(create("orders", MAX_PARTITIONS_PER_TOPIC))
    .then([created("orders", MAX_PARTITIONS_PER_TOPIC)]);
  given().when(create("orders", MAX_PARTITIONS_PER_TOPIC + 1)).refused("INVALID_PARTITIONS");
});

const HALF = MAX_PARTITIONS / 2;
const REST = MAX_PARTITIONS_OF_TENANT - HALF;

/** A topic that a principal of `tenant` makes. */
function createOf(tenant: string, name: string, partitions = 1) {
  const at = { at: 1, brokers: 1 };
  const command = { type: "CreateTopic", topicId: `id-${name}`, name, partitions } as const;
  return { ...command, config: CONFIG, tenant, ...at };
}

function after(...commands: CatalogCommand[]) {
  const state = commands.reduce(
    (before, command) => decideCatalog(before, command).reduce(evolveCatalog, before),
    EMPTY_CATALOG,
  );
  return {
    ok: (command: CatalogCommand) => assert.equal(decideCatalog(state, command).length, 1),
    refused: (command: CatalogCommand, details: Record<string, unknown>) =>
      assert.throws(() => decideCatalog(state, command), (error) => {
        assert.ok(error instanceof BrokerError && error.code === "LIMIT_REACHED", `${error}`);
        for (const [name, value] of Object.entries(details)) {
          assert.equal(error.details[name], value);
        }
        return true;
      }),
  };
}

Deno.test("a tenant takes three quarters of the partitions at most, others and administrators the rest", () => {
  const full = after(createOf("evil", "a", HALF), createOf("evil", "b", REST));
  const share = { tenant: "evil", limit: MAX_PARTITIONS_OF_TENANT };
  full.refused(createOf("evil", "c"), share);
  full.refused({ type: "UpdateTopic", name: "b", partitions: REST + 1, brokers: 1 }, share);
  full.ok({ type: "UpdateTopic", name: "b", config: { retentionHours: 1 }, brokers: 1 });
  full.ok(createOf("good", "c", MAX_PARTITIONS - MAX_PARTITIONS_OF_TENANT));
  full.ok({ ...createOf("evil", "c"), beyondShare: true });
  const raise = { type: "UpdateTopic", name: "b", partitions: REST + 1, brokers: 1 } as const;
  full.ok({ ...raise, beyondShare: true });
  after(createOf("evil", "a", HALF), createOf("evil", "b", REST), {
    type: "DeleteTopic",
    name: "b",
  })
    .ok(createOf("evil", "c", REST));
});

Deno.test("topics of a tenant's dead letters are of its share, also when what failed is gone", () => {
  const letters = after(createOf("evil", "a", HALF), create("dlq.a", REST));
  letters.refused(createOf("evil", "b"), { tenant: "evil" });
  letters.refused({ type: "UpdateTopic", name: "dlq.a", partitions: HALF, brokers: 1 }, {
    tenant: "evil",
  });
  const origin = createOf("evil", "a", HALF);
  after(origin, create("dlq.a", HALF / 2), { type: "DeleteTopic", name: "a" }, origin)
    .refused(createOf("evil", "b"), { tenant: "evil" });
  after(origin).refused(create("dlq.a", HALF), { tenant: "evil" });
});

Deno.test("who finds no partition left in all is told that a limit is reached", () => {
  after(create("a", HALF), create("b", HALF)).refused(createOf("good", "c"), {
    limit: MAX_PARTITIONS,
    tenant: undefined,
  });
});

Deno.test("catalog raises the number of partitions and never lets it fall", () => {
  const before = given(created("orders", 3));
  before.when({ type: "UpdateTopic", name: "orders", partitions: 4, brokers: 1 })
    .then([{ type: "TopicChanged", topic: topic("orders", 4) }]);
  before.when({ type: "UpdateTopic", name: "orders", partitions: 2, brokers: 1 })
    .refused("INVALID_PARTITIONS");
});

Deno.test("catalog changes only the settings that were given", () => {
  given(created("orders")).when({
    type: "UpdateTopic",
    name: "orders",
    config: { retentionHours: 1 },
    brokers: 1,
  }).then([{
    type: "TopicChanged",
    topic: { ...topic("orders"), config: { ...CONFIG, retentionHours: 1 } },
  }]);
});

Deno.test("catalog refuses to change or delete a topic that is not there", () => {
  given().when({ type: "UpdateTopic", name: "orders", brokers: 1 }).refused("UNKNOWN_TOPIC");
  given().when({ type: "DeleteTopic", name: "orders" }).refused("UNKNOWN_TOPIC");
});

Deno.test("catalog frees the name of a deleted topic while its data is still being removed", () => {
  const deleted: CatalogEvent = { type: "TopicDeleted", topic: topic("orders", 2) };
  given(created("orders", 2)).when({ type: "DeleteTopic", name: "orders" }).then([deleted]);
  const after = given(created("orders", 2), deleted);
  assert.deepEqual([...after.state.removing.keys()], ["id-orders"]);
  after.when(create("orders")).then([created("orders")]);
  after.when({ type: "FinishRemoval", topicId: "id-orders" })
    .then([{ type: "TopicRemoved", topicId: "id-orders" }]);
});

Deno.test("catalog finishes a removal once", () => {
  given().when({ type: "FinishRemoval", topicId: "id-orders" }).then([]);
});
