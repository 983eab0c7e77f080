// Owns the types of what the API answers to the dashboard: those of the routes' own schemas.
// Refuses to own asking (api_client.ts). Invariant: types alone; nothing of the broker gets into the bundle.
import type { z } from "zod";
import type { messageSchema } from "../message.ts";
import type { entrySchema as auditSchema, verificationSchema } from "../routes/audit.ts";
import type { brokerSchema } from "../routes/brokers.ts";
import type { changeSchema, groupCanarySchema } from "../routes/canary.ts";
import type { clusterSchema } from "../routes/cluster.ts";
import type { deadLetterSchema } from "../routes/dead_letters.ts";
import type { groupSchema, rebalanceSchema, summarySchema } from "../routes/groups.ts";
import type { lagSchema } from "../routes/lag.ts";
import type { entrySchema as historySchema, snapshotSchema } from "../routes/offset_history.ts";
import type { movedSchema } from "../routes/offset_moves.ts";
import type {
  moveSchema,
  partitionSchema as placementSchema,
  planSchema,
} from "../routes/partitions.ts";
import type { quotaSchema } from "../routes/quotas.ts";
import type { jobSchema } from "../routes/replays.ts";
import type { executionSchema, runbookSchema } from "../routes/runbooks.ts";
import type { thresholdSchema } from "../routes/thresholds.ts";
import type { partitionSchema, topicSchema } from "../routes/topics.ts";
import type { traceSchema } from "../routes/traces.ts";

export type { Alert } from "../../actors/threshold/types.ts";
export type AuditEntry = z.infer<typeof auditSchema>;
export type AuditVerification = z.infer<typeof verificationSchema>;
export type Broker = z.infer<typeof brokerSchema>;
export type Canary = z.infer<typeof groupCanarySchema>;
export type CanaryChange = z.infer<typeof changeSchema>;
export type Cluster = z.infer<typeof clusterSchema>;
export type DeadLetter = z.infer<typeof deadLetterSchema>;
export type Execution = z.infer<typeof executionSchema>;
export type Group = z.infer<typeof groupSchema>;
export type GroupLag = z.infer<typeof lagSchema>;
export type GroupSummary = z.infer<typeof summarySchema>;
export type HistoryEntry = z.infer<typeof historySchema>;
export type Job = z.infer<typeof jobSchema>;
export type Message = z.infer<typeof messageSchema>;
export type Move = z.infer<typeof moveSchema>;
export type MovedOffsets = z.infer<typeof movedSchema>;
export type Partition = z.infer<typeof partitionSchema>;
export type Placement = z.infer<typeof placementSchema>;
export type Quota = z.infer<typeof quotaSchema>;
export type ReassignPlan = z.infer<typeof planSchema>;
export type Rebalance = z.infer<typeof rebalanceSchema>;
export type Runbook = z.infer<typeof runbookSchema>;
export type Snapshot = z.infer<typeof snapshotSchema>;
export type Threshold = z.infer<typeof thresholdSchema>;
export type Topic = z.infer<typeof topicSchema>;
export type Trace = z.infer<typeof traceSchema>;
