// Owns an API over a broker in memory that is measured, in virtual time.
// Refuses to own what is measured. Invariant: closing it leaves no timer behind.
import type { ReplicationFigures } from "../../actors/cluster/cluster_watch.ts";
import type { LocalBroker } from "../../actors/local_broker.ts";
import type { Sample } from "../../actors/measurement/types.ts";
import { DEFAULT_API_LIMITS } from "../../api/limits.ts";
import type { Telemetry } from "../../api/telemetry.ts";
import type { RouteModule } from "../../api/route.ts";
import { SyncWatch } from "../../ops/measurement/measured_disk.ts";
import { type Measuring, startMeasuring } from "../../ops/measurement/measuring.ts";
import { type ApiOptions, type ApiUnderTest, apiUnderTest } from "./api_app.ts";
import { settle, VirtualClock } from "./virtual_time.ts";

export interface MeasuredApi extends ApiUnderTest {
  readonly measuring: Measuring;
  /** What could not be measured. */
  readonly reports: string[];
  /** Free bytes of the disk, as the next look finds them. */
  disk: { freeBytes: number | null };
  /** Lets a second go by; resolves to its sample. */
  second(): Promise<Sample>;
}

export interface MeasuredOptions extends ApiOptions {
  /** What is seen of a cluster; left out: it is alone. */
  readonly replication?: () => ReplicationFigures;
  /** Made once the broker is there. */
  readonly routes?: (measuring: Measuring) => readonly RouteModule[];
}

export async function measuredApi(options: MeasuredOptions = {}): Promise<MeasuredApi> {
  const time = options.time ?? new VirtualClock();
  const reports: string[] = [];
  const disk: MeasuredApi["disk"] = { freeBytes: 1_000_000 };
  let measuring: Measuring | null = null;
  // The application is made with the broker; what is measured before there is any measuring is lost.
  const telemetry: Telemetry = {
    published: (event) => measuring?.edge.published(event),
    delivered: (event) => measuring?.edge.delivered(event),
    answered: (event) => measuring?.edge.answered(event),
  };
  const measure = (broker: LocalBroker) =>
    measuring ??= startMeasuring({
      broker,
      activity: () => broker.activity(),
      clock: time,
      timers: time,
      syncs: new SyncWatch(time),
      maxDecompressedBytes: DEFAULT_API_LIMITS.maxDecompressedBytes,
      diskFreeBytes: () => Promise.resolve(disk.freeBytes),
      memoryBytes: () => 42,
      ...(options.replication === undefined ? {} : { replication: options.replication }),
      report: (message, error) => void reports.push(`${message}: ${error}`),
    });
  const measured: RouteModule = (dependencies) =>
    (options.routes?.(measure(dependencies.broker as LocalBroker)) ?? [])
      .flatMap((module) => [...module(dependencies)]);
  const api = await apiUnderTest({
    ...options,
    time,
    app: {
      ...options.app,
      telemetry,
      timers: time,
      routes: [...options.app?.routes ?? [], measured],
    },
  });
  const running = measure(api.broker);
  return {
    ...api,
    measuring: running,
    reports,
    disk,
    second: async () => {
      await time.advance(1_000);
      for (let turn = 0; turn < 20; turn++) await settle();
      return running.sampler.latest()!;
    },
    close: async () => {
      await running.stop();
      await api.close();
    },
  };
}
