// Owns putting together both ways of consuming as a group member, for whoever composes the edge.
// Refuses to own either of them. Invariant: they share waiting for data and looking up committed offsets.
import type { Timers } from "../../storage/ports.ts";
import type { MemberLimits } from "../members/limits.ts";
import { createMembers } from "../members/routes.ts";
import type { RouteModule } from "../route.ts";
import type { StreamLimits } from "./limits.ts";
import { createStream } from "./routes.ts";

export interface ConsumingOptions {
  readonly timers: Timers;
  readonly stream?: Partial<StreamLimits>;
  readonly members?: Partial<MemberLimits>;
}

export interface Consuming {
  /** To be handed to `createApp`, once. */
  readonly routes: RouteModule;
  /** Closes every stream (1012) after its commits, ends every poll, refuses new ones; before the broker is closed. */
  drain(): Promise<void>;
  /** For metrics. */
  counts(): { readonly streams: number; readonly bufferedBytes: number; readonly members: number };
}

/** The routes of streams and of HTTP members. */
export function createConsuming(options: ConsumingOptions): Consuming {
  let made:
    | { stream: ReturnType<typeof createStream>; polling: ReturnType<typeof createMembers> }
    | null = null;
  return {
    routes: (dependencies) => {
      if (made !== null) throw new Error("the routes of consuming are made once");
      const { timers } = options;
      const stream = createStream(dependencies, { timers, limits: options.stream ?? {} });
      const { waiters, committedOffsets } = stream.hub.services;
      const limits = options.members ?? {};
      const polling = createMembers(dependencies, { timers, waiters, committedOffsets, limits });
      made = { stream, polling };
      return [...stream.routes, ...polling.routes];
    },
    drain: async () => {
      if (made !== null) await Promise.all([made.stream.hub.drain(), made.polling.members.drain()]);
    },
    counts: () => ({
      streams: made?.stream.hub.size ?? 0,
      bufferedBytes: made?.stream.hub.bufferedBytes ?? 0,
      members: made?.polling.members.size ?? 0,
    }),
  };
}
