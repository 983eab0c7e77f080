// Owns which topics may be encrypted, and that the dead letters of one that is are too.
import assert from "node:assert/strict";
import type { Topic, TopicConfig } from "../actors/broker.ts";
import { deadLetterConfig, deadLetterTopic } from "../actors/group/retry/dead_letter_record.ts";
import { INTERNAL_TOPIC_CONFIG } from "../actors/internal_topics.ts";
import {
  type CatalogState,
  decideCatalog,
  EMPTY_CATALOG,
  evolveCatalog,
} from "../actors/topic/decide.ts";

const PLAIN: TopicConfig = INTERNAL_TOPIC_CONFIG;
const ENCRYPTED: TopicConfig = { ...PLAIN, encryption: "aes-256-gcm" };
const REFUSED = { code: "INVALID_REQUEST" };

function made(state: CatalogState, name: string, config: TopicConfig): CatalogState {
  const topicId = `id-${name}`;
  const command = { name, topicId, partitions: 1, config, at: 1, brokers: 1 };
  return decideCatalog(state, { type: "CreateTopic", ...command }).reduce(evolveCatalog, state);
}

function changed(state: CatalogState, name: string, config: Partial<TopicConfig>): Topic {
  const events = decideCatalog(state, { type: "UpdateTopic", name, config, brokers: 1 });
  return events.reduce(evolveCatalog, state).topics.get(name)!;
}

Deno.test("the encryption of a topic is chosen when it is made, and other settings change as ever", () => {
  const state = made(made(EMPTY_CATALOG, "secret", ENCRYPTED), "plain", PLAIN);
  assert.throws(() => changed(state, "secret", { encryption: "none" }), REFUSED);
  assert.throws(() => changed(state, "plain", { encryption: "aes-256-gcm" }), REFUSED);
  assert.equal(changed(state, "plain", { encryption: "none" }).config.encryption, "none");
  const { config } = changed(state, "secret", { retentionHours: 5 });
  assert.deepEqual([config.encryption, config.retentionHours], ["aes-256-gcm", 5]);
});

Deno.test("dead letters of an encrypted topic are encrypted, whichever of the two topics is made first", () => {
  assert.equal(deadLetterConfig(ENCRYPTED).encryption, "aes-256-gcm");
  const state = made(EMPTY_CATALOG, "secret", ENCRYPTED);
  assert.throws(() => made(state, "dlq.secret", PLAIN), REFUSED);
  assert.equal(made(state, "dlq.secret", ENCRYPTED).topics.size, 2);
  assert.equal(made(state, "dlq.other", PLAIN).topics.size, 2);
  const letters = made(EMPTY_CATALOG, "dlq.secret", PLAIN);
  assert.throws(() => made(letters, "secret", ENCRYPTED), REFUSED);
  assert.equal(made(letters, "secret", PLAIN).topics.size, 2);
  const long = "n".repeat(249);
  const shortened = made(EMPTY_CATALOG, long, ENCRYPTED);
  assert.throws(() => made(shortened, deadLetterTopic(long), PLAIN), REFUSED);
});
