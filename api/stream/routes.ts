// Owns the route on which consumers stream, and its documentation.
// Refuses to own authentication and Origin (the guard of the edge) and what happens once connected (hub.ts).
// Invariant: everything that can be refused is refused before the upgrade, as a problem.
import { z } from "zod";
import type { Timers } from "../../storage/ports.ts";
import { askerOf } from "../auth/asker.ts";
import { groupParams, refuseInternalGroup } from "../fields.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";
import { existingTopic } from "../topic_lookup.ts";
import { clientFrameSchema, CLOSE } from "./frames.ts";
import { StreamHub } from "./hub.ts";
import {
  DEFAULT_BATCH_TURN_BYTES,
  DEFAULT_TURN_BYTES,
  STREAM_LIMITS,
  type StreamLimits,
} from "./limits.ts";
import { streamQuery } from "./query.ts";
import { SUBPROTOCOL, subprotocolOf, upgrade } from "./socket.ts";

export interface StreamOptions {
  readonly timers: Timers;
  readonly limits?: Partial<StreamLimits>;
}

/** The hub of `dependencies.broker` and the route that leads to it. */
export function createStream(
  dependencies: ApiDependencies,
  options: StreamOptions,
): { readonly hub: StreamHub; readonly routes: readonly Route[] } {
  const limits = { ...STREAM_LIMITS, ...options.limits };
  const hub = new StreamHub({
    ...dependencies,
    timers: options.timers,
    limits,
    onError: (error) => dependencies.onError(error, "stream"),
  });
  return { hub, routes: [streamRoute(dependencies, hub)] };
}

function streamRoute({ broker, quota }: ApiDependencies, hub: StreamHub): Route {
  return defineRoute({
    method: "GET",
    path: "/api/groups/{group}/stream",
    operationId: "streamMessages",
    tag: "Groups",
    summary: "Consume as a member of a group, over a WebSocket",
    description: DESCRIPTION,
    params: groupParams,
    query: streamQuery(hub.services.limits),
    requestHeaders: {
      "sec-websocket-protocol":
        `Optional, for browsers: ${SUBPROTOCOL} and bearer.<token>, or bearer64.<token in base64url> where a subprotocol cannot be called so; ${SUBPROTOCOL} is selected.`,
    },
    responses: { 101: { description: "The connection is a WebSocket from here on." } },
    errors: ["UNKNOWN_TOPIC", "UPGRADE_REQUIRED", "OVERLOADED", "SHUTTING_DOWN", "FORBIDDEN"],
    acceptAnything: true,
    handler: ({ params: { group }, query, request, peer, principal, access }) => {
      subprotocolOf(request);
      refuseInternalGroup(group);
      for (const topic of query.topics) existingTopic(broker, topic);
      const maxBatchBytes = query.maxBatchBytes ??
        (query.format === "batch" ? DEFAULT_BATCH_TURN_BYTES : DEFAULT_TURN_BYTES);
      const transport = "websocket" as const;
      const asker = askerOf(access);
      const consumer = quota.connect(access);
      const stream = {
        ...query,
        group,
        principal,
        access,
        asker,
        maxBatchBytes,
        transport,
        quota: consumer,
      };
      try {
        return upgrade({ request, peer }, stream, hub);
      } catch (error) {
        consumer.end();
        throw error;
      }
    },
  });
}

const CLIENT_FRAMES = clientFrameSchema.options.map((frame) => {
  const { type } = frame.shape;
  const about = z.globalRegistry.get(frame)?.description;
  return `- \`${type.value}\`${about === undefined ? "" : `: ${about}`}`;
});

const DESCRIPTION = `Frames are objects with \`type\`.

The server sends \`welcome { memberId, generation, sessionTimeoutMs, resumed }\`; \`assigned { generation, partitions: [{ topic, partition, offset, leaderEpoch, reset? }] }\`, always the whole assignment, where what was held before goes on at its position, and \`reset\` says that the committed offset was no longer in the log; \`revoked { partitions }\`, to be finished or dropped, and committed, soon; \`messages { topic, partition, messages, highWatermark }\`, where a redelivered message comes alone and has \`attempt\`; \`committed { id?, offsets }\`; \`heartbeat {}\`; \`paused { reason }\` and \`resumed {}\` when an operator pauses the group; \`withdrawn { version, reason }\` when this member's version was a canary that did worse than the others, so that nothing more is assigned to it; \`error { code, detail, retryable, id? }\`, after which the session goes on unless it is closed.

With \`format=batch\` messages are binary frames: a header's length (32 bits, big-endian), the header as JSON, \`{ type: "messages", topic, partition, highWatermark, offset, nextOffset, attempt? }\`, and whole record batches, of which only the records from \`offset\` to before \`nextOffset\` are meant.

The client sends, as JSON text or as MessagePack in a binary frame:

${CLIENT_FRAMES.join("\n")}

Close codes: 1000 after \`leave\`; 1008 bad frames in a row, a client that does not read, or sends frames far faster than they are let in, or a join that was refused; 1009 a frame too large; 1012 the broker shuts down; 1013 try again later; ${CLOSE.removed} no longer a member, join anew; ${CLOSE.replaced} another connection goes on for this member, or another member has its instanceId: do not come back; ${CLOSE.unauthenticated} the credential has been revoked or has expired, or an ACL lets it read here no more; an \`error\` before it says which.`;
