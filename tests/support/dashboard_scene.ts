// Owns something to see for the dashboard: a broker with traffic, a group that keeps up, one that lags, one that nobody reads.
// Refuses to own what is checked. Invariant: made through the public API alone, as users would.

export interface DashboardScene {
  /** Asks the broker; throws with the problem's text where it refuses. */
  // deno-lint-ignore no-explicit-any
  readonly ask: (method: string, path: string, body?: unknown) => Promise<any>;
  /** Publishes a little, as if by customers. */
  readonly traffic: () => Promise<void>;
}

const OLD_MS = 200_000;

/** Sets the scene. */
export async function dashboardScene(url: string, token: string): Promise<DashboardScene> {
  const ask: DashboardScene["ask"] = async (method, path, body) => {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${text}`);
    return text === "" ? null : JSON.parse(text);
  };
  await ask("POST", "/api/topics", { name: "orders", partitions: 3 });
  await ask("POST", "/api/topics", { name: "payments", partitions: 2 });
  // Small limits, so that the scene is bad enough for alerts at once.
  const threshold = await ask("GET", "/api/thresholds/consumer-lag");
  await ask("PUT", "/api/thresholds/consumer-lag", {
    limit: 150,
    severity: threshold.severity,
    enabled: true,
    mode: "observe",
  });
  const timestamp = Date.now() - OLD_MS;
  await publish(ask, "orders", { count: 600, timestamp });
  const billing = await join(ask, "billing", "orders");
  await ask("POST", `/api/groups/billing/members/${billing}:poll`, { maxMessages: 5 });
  await publish(ask, "payments", { count: 40, timestamp });
  await ask("POST", "/api/offsets:commit", {
    groupId: "reports",
    offsets: [{ topic: "payments", partition: 0, offset: 0 }],
  });
  return {
    ask,
    traffic: async () => {
      await publish(ask, "payments", { count: 30 });
    },
  };
}

async function join(ask: DashboardScene["ask"], group: string, topic: string): Promise<string> {
  const body = { topics: [topic], clientId: `${group}-1`, sessionTimeoutMs: 120_000 };
  return (await ask("POST", `/api/groups/${group}/members`, body)).memberId;
}

async function publish(
  ask: DashboardScene["ask"],
  topic: string,
  { count, timestamp }: { count: number; timestamp?: number },
): Promise<void> {
  const messages = Array.from({ length: count }, (_, index) => ({
    key: `customer-${index % 50}`,
    value: { order: index, amount: index * 7 % 990 },
    ...(timestamp === undefined ? {} : { timestamp: timestamp + index }),
  }));
  await ask("POST", "/api/messages:publish", { topic, messages });
}
