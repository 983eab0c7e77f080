// Owns a clock for suites written in virtual time that are run over a server with time of its own.
// Refuses to hurry. Invariant: `advance` takes as long in truth as it says.
import { VirtualClock } from "./virtual_time.ts";

export class RealClock extends VirtualClock {
  override async advance(byMs: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, byMs));
    await super.advance(byMs);
  }
}
