// Owns the words in which every part says that a job is not there.
// Refuses to own looking for it.
// Invariant: whoever may not see a job is told exactly what one is told of a job that does not exist.
import { BrokerError } from "../../storage/broker_error.ts";

/** NOT_FOUND, to be thrown. */
export function unknownJob(jobId: string): BrokerError {
  return new BrokerError("NOT_FOUND", `there is no job ${jobId}`, { jobId });
}
