// Owns the words in which every part says that a topic is not there.
// Refuses to own looking for it.
// Invariant: whoever may not see a topic is told exactly what one is told of a topic that does not exist.
import { BrokerError } from "../../storage/broker_error.ts";

/** UNKNOWN_TOPIC, to be thrown. */
export function unknownTopic(name: string): BrokerError {
  return new BrokerError("UNKNOWN_TOPIC", `there is no topic ${name}`, { topic: name });
}
