// Owns whole brokers of a cluster in memory behind one broker's HTTP API on a loopback port.
// Refuses to own what is asked of it. Invariant: virtual time goes on only while something is asked, or when the test says so,
// one at a time.
import { describeCluster } from "../../actors/cluster/describe_cluster.ts";
import type { AppOptions } from "../../api/app.ts";
import { apiUnderTest } from "./api_app.ts";
import { type ClusterScene, clusterScene } from "./cluster_scene.ts";

export interface ClusterServer {
  readonly url: string;
  readonly scene: ClusterScene;
  /** Lets virtual time go by between requests. */
  advance(ms: number): Promise<void>;
  /** Runs what itself lets time go by, between requests. */
  inTurn<T>(run: () => Promise<T>): Promise<T>;
}

/** Brokers `names`, of which the first is asked. */
export async function withClusterServer(
  names: readonly string[],
  test: (server: ClusterServer) => Promise<void>,
  app: Partial<AppOptions> = {},
): Promise<void> {
  const scene = await clusterScene(names);
  const { administration, cluster, local, broker } = scene.node(names[0]!);
  const topics = () => local.topicNames().flatMap((name) => local.topic(name) ?? []);
  const api = await apiUnderTest({
    app: { administration, broker, cluster: () => describeCluster(cluster, topics()), ...app },
  });
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(run: () => Promise<T>): Promise<T> => {
    const next = last.then(run);
    last = next.catch(() => {});
    return next;
  };
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => inTurn(() => scene.until(Promise.resolve(api.app.fetch(request)))),
  );
  try {
    const url = `http://127.0.0.1:${server.addr.port}`;
    await test({ url, scene, inTurn, advance: (ms) => inTurn(() => scene.time.advance(ms)) });
  } finally {
    // A page that is gone still holds its stream.
    await Promise.race([server.shutdown(), scene.time.advance(1_000)]);
    await api.close();
  }
}
