// Owns the route that gives producers their identity.
// Refuses to own what follows from an identity: the partitions decide (actors/partition/producer_state.ts).
// Invariant: an id is given out once.
import { z } from "zod";
import { producerEpoch, producerId } from "../producer_stamp.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const identitySchema = z.strictObject({ producerId, producerEpoch }).meta({ id: "Producer" });

/** The route for producers' identities. */
export function producerRoutes({ broker }: ApiDependencies): Route[] {
  return [
    defineRoute({
      method: "POST",
      path: "/api/producers",
      operationId: "createProducer",
      tag: "Messages",
      summary: "Get an identity for an idempotent producer",
      description: "Publishing with `producerId`, `producerEpoch` and `sequence` stores each " +
        "message once, however often the request is sent.",
      body: z.strictObject({}),
      bodyOptional: true,
      responses: {
        201: {
          description: "An id that nobody else has",
          schema: identitySchema,
          example: { producerId: 4_294_967_296, producerEpoch: 0 },
        },
      },
      errors: ["METADATA_CONFLICT"],
      handler: async () => ({ status: 201, data: await broker.producers.allocate() }),
    }),
  ];
}
