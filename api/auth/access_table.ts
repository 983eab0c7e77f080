// Owns who may use which route: one entry for every route that a broker serves.
// Refuses to own what ACLs allow (authorizer.ts) and what handlers find out late: they ask `context.authorize`.
// Invariant: a route without an entry is not served (createApp throws), so that none is forgotten.
import {
  type AccessEntry,
  askedByHandler,
  authenticated,
  groupNeed,
  needs,
  onCluster,
  onGroup,
  onTopic,
  OPEN,
  topicNeed,
  topicNeeds,
} from "./access_entry.ts";
import { allDataPlane, audited, ofBody, ofPath } from "../audit/audit_rule.ts";
import type { Route, ServedRoute } from "../route.ts";

/** Entries by `METHOD /path/{template}`. */
export type AccessTable = Readonly<Record<string, AccessEntry>>;

interface Input<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
}
type InGroup = { readonly group: string };
type OfTopics = { readonly topics: readonly string[] };
type MayNameTopic = { readonly topic?: string | undefined };

const GROUP_AND_TOPIC = ["group", "topic"] as const;
const GROUP_AND_TOPIC_READ = "read on the group and on the topics";

const MESSAGES: AccessTable = {
  "POST /api/messages:publish": askedByHandler("write on the topic", ["topic"]),
  "POST /api/topics/{topic}/partitions/{partition}/messages": onTopic("write"),
  "GET /api/topics/{topic}/partitions/{partition}/messages": onTopic("read"),
  "POST /api/producers": authenticated(),
  "POST /api/transactions": authenticated("a credential; the id must not be another principal's"),
  "GET /api/transactions": authenticated("a credential; only one's own are listed"),
  "GET /api/transactions/{transactionId}": authenticated("to be the principal who began it"),
  "POST /api/transactions/{transactionId}:commit": needs<
    Input<unknown, unknown, { offsets: readonly { groupId: string; topic: string }[] }>
  >(
    "to be the principal who began it; read on the groups and topics of the offsets",
    GROUP_AND_TOPIC,
    ({ body: { offsets } }) =>
      [
        ...new Set(offsets.map(({ groupId }) => groupId)),
      ].map((group) => groupNeed("read", group)).concat(
        topicNeeds("read", offsets.map(({ topic }) => topic)),
      ),
  ),
  "POST /api/transactions/{transactionId}:abort": authenticated("to be the principal who began it"),
};

/** The handler knows what the job takes: nobody who may not steer it makes an entry. */
function ofJob(action: string): AccessEntry {
  const entry = authenticated("what starting the job takes");
  return audited(entry, action, ofPath("job", "jobId"), { late: true });
}

const JOBS: AccessTable = {
  "POST /api/messages:replay": audited(
    needs<
      Input<unknown, unknown, {
        readonly topic: string;
        readonly target?: { readonly topic: string } | { readonly group: string } | undefined;
      }>
    >(
      "read on the topic, and write on the one that is replayed to, or alter on the group",
      GROUP_AND_TOPIC,
      ({ body: { topic, target = { topic } } }) => [
        topicNeed("read", topic),
        "group" in target ? groupNeed("alter", target.group) : topicNeed("write", target.topic),
      ],
    ),
    "replay.start",
    ofBody("topic"),
  ),
  "POST /api/dlq:redrive": audited(
    askedByHandler(
      "read on the topic of dead letters, and write on the one they came from, or alter on the group",
      GROUP_AND_TOPIC,
    ),
    "redrive.start",
    ofBody("topic"),
    { late: true },
  ),
  "GET /api/replays": authenticated("a credential; only jobs that one could start are listed"),
  "GET /api/replays/{jobId}": authenticated("what starting the job takes"),
  "POST /api/replays/{jobId}:pause": ofJob("job.pause"),
  "POST /api/replays/{jobId}:resume": ofJob("job.resume"),
  "POST /api/replays/{jobId}:cancel": ofJob("job.cancel"),
};

const TOPICS: AccessTable = {
  "POST /api/topics": audited(
    needs<Input<unknown, unknown, { readonly name: string }>>(
      "create on the topic, or on the cluster",
      [],
      ({ body: { name } }) => [topicNeed("create", name)],
    ),
    "topic.create",
    ofBody("topic", "name"),
  ),
  "GET /api/topics": authenticated("a credential; only topics that one may describe are listed"),
  "GET /api/topics/{topic}": onTopic("describe"),
  "PATCH /api/topics/{topic}": audited(
    { ...onTopic("alter"), text: "alter on the topic, and admin on the cluster to change quotas" },
    "topic.alter",
    ofPath("topic"),
  ),
  "DELETE /api/topics/{topic}": audited(onTopic("delete"), "topic.delete", ofPath("topic")),
};

const CONSUMING: AccessTable = {
  "GET /api/groups/{group}/stream": needs<Input<InGroup, OfTopics, unknown>>(
    GROUP_AND_TOPIC_READ,
    GROUP_AND_TOPIC,
    ({ params: { group }, query: { topics } }) => [
      groupNeed("read", group),
      ...topicNeeds("read", topics),
    ],
  ),
  "POST /api/groups/{group}/members": needs<Input<InGroup, unknown, OfTopics>>(
    GROUP_AND_TOPIC_READ,
    GROUP_AND_TOPIC,
    ({ params: { group }, body: { topics } }) => [
      groupNeed("read", group),
      ...topicNeeds("read", topics),
    ],
  ),
  "POST /api/groups/{group}/members/{memberId}:poll": onGroup("read"),
  "DELETE /api/groups/{group}/members/{memberId}": onGroup("read"),
  "POST /api/offsets:commit": audited(
    needs<
      Input<unknown, unknown, {
        readonly groupId: string;
        readonly offsets: readonly { readonly topic: string }[];
      }>
    >(
      GROUP_AND_TOPIC_READ,
      GROUP_AND_TOPIC,
      ({ body: { groupId, offsets } }) => [
        groupNeed("read", groupId),
        ...topicNeeds("read", offsets.map(({ topic }) => topic)),
      ],
    ),
    "offsets.commit",
    ofBody("group", "groupId"),
    // Only one that may go back takes messages back that were done.
    {
      when: ({ body }: Input<unknown, unknown, { allowRewind?: boolean }>) =>
        body.allowRewind === true,
    },
  ),
  "POST /api/messages:nack": needs<
    Input<unknown, unknown, { readonly groupId: string; readonly topic: string }>
  >(
    "read on the group and on the topic",
    GROUP_AND_TOPIC,
    ({ body: { groupId, topic } }) => [groupNeed("read", groupId), topicNeed("read", topic)],
  ),
  "GET /api/dlq": {
    ...authenticated(
      "a credential; only topics of dead letters that one may read are looked into, and of a topic that one may describe and names " +
        "those must be readable",
    ),
    hides: ["topic"],
  },
};

/** Needs `operation` on the group, and to see the topic if one is named. */
function onGroupAnd(
  place: "query" | "body",
  operation: "describe" | "alter",
): AccessEntry {
  return needs<Input<InGroup, MayNameTopic, MayNameTopic>>(
    `${operation} on the group, and describe on a topic that is named`,
    GROUP_AND_TOPIC,
    ({ params: { group }, [place]: { topic } }) => [
      groupNeed(operation, group),
      ...(topic === undefined ? [] : [topicNeed("describe", topic)]),
    ],
  );
}

const SEES_GROUP: AccessEntry = {
  ...onGroup("describe"),
  text: "describe on the group; of its topics those are told that one may describe",
};

const GROUPS: AccessTable = {
  "GET /api/groups": authenticated("a credential; only groups that one may describe are listed"),
  "GET /api/groups/{group}": SEES_GROUP,
  "GET /api/groups/{group}/rebalances": SEES_GROUP,
  "DELETE /api/groups/{group}": audited(onGroup("delete"), "group.delete", ofPath("group")),
  "POST /api/groups/{group}:pause": audited(onGroup("alter"), "group.pause", ofPath("group")),
  "POST /api/groups/{group}:resume": audited(onGroup("alter"), "group.resume", ofPath("group")),
  "GET /api/groups/{group}/canary": SEES_GROUP,
  "PUT /api/groups/{group}/canary": audited(onGroup("alter"), "canary.set", ofPath("group")),
  "POST /api/groups/{group}/canary:promote": audited(
    onGroup("alter"),
    "canary.promote",
    ofPath("group"),
  ),
  "DELETE /api/groups/{group}/canary": audited(onGroup("alter"), "canary.remove", ofPath("group")),
  "GET /api/groups/{group}/lag": SEES_GROUP,
  "GET /api/groups/{group}/retry-policy": onGroupAnd("query", "describe"),
  "PUT /api/groups/{group}/retry-policy": audited(
    onGroupAnd("body", "alter"),
    "retry-policy.set",
    ofPath("group"),
  ),
  "GET /api/groups/{group}/offsets/history": onGroupAnd("query", "describe"),
  "GET /api/groups/{group}/offsets/snapshots": SEES_GROUP,
  "POST /api/groups/{group}/offsets:snapshot": audited(
    onGroup("alter"),
    "offsets.snapshot",
    ofPath("group"),
  ),
  "POST /api/groups/{group}/offsets:rollback": audited(
    onGroupAnd("body", "alter"),
    "offsets.rollback",
    ofPath("group"),
  ),
  "POST /api/groups/{group}/offsets:reset": audited(
    onGroupAnd("body", "alter"),
    "offsets.reset",
    ofPath("group"),
  ),
};

const ADMINISTRATION: AccessTable = {
  "POST /api/keys": audited(onCluster("admin"), "key.create", () => null),
  "GET /api/keys": onCluster("admin"),
  "DELETE /api/keys/{keyId}": audited(onCluster("admin"), "key.delete", ofPath("key", "keyId")),
  "POST /api/acls": audited(onCluster("admin"), "acl.create", () => null),
  "GET /api/acls": onCluster("admin"),
  "DELETE /api/acls/{aclId}": audited(onCluster("admin"), "acl.delete", ofPath("acl", "aclId")),
  "GET /api/quotas": onCluster("admin"),
  "GET /api/quotas/{tenant}": askedByHandler(
    "to belong to the tenant, or admin on the cluster",
    [],
  ),
  "PUT /api/quotas/{tenant}": audited(onCluster("admin"), "quota.set", ofPath("quota", "tenant")),
  "DELETE /api/quotas/{tenant}": audited(
    onCluster("admin"),
    "quota.delete",
    ofPath("quota", "tenant"),
  ),
  "GET /api/audit": onCluster("admin"),
  "GET /api/audit:verify": onCluster("admin"),
  "GET /api/alerts": onCluster("describe"),
  "GET /api/alerts/{alertId}": onCluster("describe"),
  "POST /api/alerts/{alertId}:acknowledge": audited(
    onCluster("admin"),
    "alert.acknowledge",
    ofPath("alert", "alertId"),
  ),
  "POST /api/alerts/{alertId}:silence": audited(
    onCluster("admin"),
    "alert.silence",
    ofPath("alert", "alertId"),
  ),
  "GET /api/thresholds": onCluster("describe"),
  "GET /api/thresholds/{name}": onCluster("describe"),
  "PUT /api/thresholds/{name}": audited(
    onCluster("admin"),
    "threshold.set",
    ofPath("threshold", "name"),
  ),
  "DELETE /api/thresholds/{name}": audited(
    onCluster("admin"),
    "threshold.reset",
    ofPath("threshold", "name"),
  ),
  "GET /api/runbooks": onCluster("describe"),
  "POST /api/runbooks/{name}:execute": audited(
    onCluster("admin"),
    "runbook.execute",
    ofPath("runbook", "name"),
  ),
  "GET /api/runbooks/executions": onCluster("describe"),
  "GET /api/runbooks/executions/{executionId}": onCluster("describe"),
  "POST /api/runbooks/executions/{executionId}:approve": audited(
    onCluster("admin"),
    "runbook.approve",
    ofPath("execution", "executionId"),
  ),
  "POST /api/runbooks/executions/{executionId}:abort": audited(
    onCluster("admin"),
    "runbook.abort",
    ofPath("execution", "executionId"),
  ),
  "GET /api/cluster": onCluster("describe"),
  "GET /api/brokers": onCluster("describe"),
  "GET /api/brokers/{nodeId}": onCluster("describe"),
  "POST /api/brokers/{nodeId}:drain": audited(
    onCluster("admin"),
    "broker.drain",
    ofPath("broker", "nodeId"),
  ),
  "POST /api/brokers/{nodeId}:undrain": audited(
    onCluster("admin"),
    "broker.undrain",
    ofPath("broker", "nodeId"),
  ),
  "DELETE /api/brokers/{nodeId}": audited(
    onCluster("admin"),
    "broker.decommission",
    ofPath("broker", "nodeId"),
  ),
  "GET /api/partitions": onCluster("describe"),
  "GET /api/partitions:reassign": onCluster("describe"),
  "POST /api/partitions:reassign": audited(
    onCluster("admin"),
    "partitions.reassign",
    () => null,
  ),
  "DELETE /api/partitions:reassign": audited(
    onCluster("admin"),
    "partitions.cancel-moves",
    () => null,
  ),
  "GET /api/traces/{traceId}": authenticated(
    "a credential; only messages of topics that one may read, and groups that one may describe, are told of",
  ),
  "GET /api/overview": onCluster("describe"),
  "GET /api/overview:stream": onCluster("describe"),
  "GET /metrics": onCluster("describe"),
  "GET /metrics/partitions": onCluster("describe"),
  "GET /livez": OPEN,
  "GET /readyz": OPEN,
  "GET /openapi.json": OPEN,
  "GET /docs": OPEN,
  "GET /": OPEN,
  "GET /dashboard/app.js": OPEN,
  "GET /dashboard/style.css": OPEN,
  "GET /dashboard/icon.svg": OPEN,
};

/** The route with its entry of `table`; throws a plain Error where there is none. */
export function withAccess(route: Route, table: AccessTable): ServedRoute {
  const name = `${route.method} ${route.path}`;
  const access = table[name];
  if (access === undefined) throw new Error(`${name} has no entry in the access table`);
  if ((access.kind === "open") !== (route.open === true)) {
    throw new Error(`${name} and its entry in the access table disagree on whether it is open`);
  }
  if (route.method !== "GET" && access.audit === undefined) {
    throw new Error(`${name} changes something, and its entry does not say as what it is audited`);
  }
  return { ...route, access };
}

/** Every route there is. */
export const ACCESS_TABLE: AccessTable = {
  ...allDataPlane(MESSAGES),
  ...JOBS,
  ...TOPICS,
  ...allDataPlane(CONSUMING),
  ...GROUPS,
  ...ADMINISTRATION,
};
