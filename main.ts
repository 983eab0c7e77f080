// Owns the composition root: a broker over the ports of this system.
// Refuses to own any behaviour. Invariant: nothing else in the project picks the ports that a broker of users gets.
import { systemPorts } from "./ops/process/ports.ts";
import { runBroker } from "./ops/process/run_broker.ts";

await runBroker(systemPorts);
