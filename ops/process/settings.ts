// Owns what the configuration says of the broker's actors, as their settings.
// Refuses to own defaults (../config_keys.ts, actors/group/settings.ts). Invariant: pure.
import { DEFAULT_GROUP_SETTINGS } from "../../actors/group/settings.ts";
import type { LocalBrokerSettings } from "../../actors/local_broker.ts";
import { DEFAULT_TRACE_SETTINGS } from "../../actors/trace/types.ts";
import type { Config } from "../config_keys.ts";

const HOUR_MS = 3_600_000;

export function settingsOf(config: Config): LocalBrokerSettings {
  const { nodeId, maxPendingPublishBytes, retentionIntervalMs, groupsPartitions } = config;
  return {
    nodeId,
    maxPendingPublishBytes,
    retentionIntervalMs,
    groupsPartitions,
    encryptInternalTopics: config.encryptInternalTopics,
    auditRetentionMs: config.auditRetentionDays * 24 * HOUR_MS,
    messageKeys: {
      windowMs: config.messageKeyHours * HOUR_MS,
      maxKeysPerTopic: config.maxMessageKeys,
      maxKeys: config.maxMessageKeys,
    },
    requestKeys: {
      windowMs: config.requestKeyHours * HOUR_MS,
      maxRequests: config.maxRequestKeys,
    },
    traces: DEFAULT_TRACE_SETTINGS,
    group: {
      ...DEFAULT_GROUP_SETTINGS,
      maxGroups: config.maxGroups,
      initialRebalanceDelayMs: config.groupInitialDelayMs,
      rebalanceDelayMs: config.groupRebalanceDelayMs,
      revocationGraceMs: config.groupRevocationGraceMs,
      reconnectGraceMs: config.groupReconnectGraceMs,
      historyMs: config.groupHistoryHours * HOUR_MS,
      maxPendingRetries: config.groupMaxRetries,
      maxDeadLettersPerMinute: config.groupMaxDeadLettersPerMinute,
      offsetsSnapshotIntervalMs: config.groupSnapshotIntervalMs,
    },
  };
}
