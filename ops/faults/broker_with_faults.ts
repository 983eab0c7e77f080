// Owns a program that is the broker, but for a disk and a clock that can be made faulty: for drills, started by nothing else.
// Refuses to own the broker (../process/) and which faults there are to be.
// Invariant: only who started the process can order a fault, through its standard input; when that ends, so does it.
import { type ProcessPorts, systemPorts } from "../process/ports.ts";
import { runBroker } from "../process/run_broker.ts";
import { linesOf, parseOrder } from "./fault_orders.ts";
import { FaultyClock } from "./faulty_clock.ts";
import { FaultyDisk, noDiskFaults } from "./faulty_disk.ts";

const faults = noDiskFaults();
const clock = new FaultyClock(systemPorts.clock);
let disk: FaultyDisk | null = null;

const ports: ProcessPorts = {
  ...systemPorts,
  clock,
  disk: (root, writes) =>
    disk = new FaultyDisk(
      systemPorts.disk(root, writes),
      faults,
      (ms) => new Promise((resolve) => void systemPorts.timers.after(ms, resolve)),
    ),
  diskFreeBytes: async (directory) => {
    const free = await systemPorts.diskFreeBytes(directory);
    return free === null || disk === null ? free : Math.min(free, disk.freeBytes);
  },
};

async function obey(): Promise<void> {
  for await (const line of linesOf(Deno.stdin.readable)) {
    const order = parseOrder(line);
    Object.assign(faults, order.disk);
    if (order.clock !== undefined) {
      clock.jumpWall(order.clock.jumpWallMs);
      clock.jumpMonotonic(order.clock.jumpMonotonicMs);
    }
    console.log(`obeyed ${line}`);
  }
}

await runBroker(ports);
await obey();
// Whoever could have ended it is gone.
Deno.exit(1);
