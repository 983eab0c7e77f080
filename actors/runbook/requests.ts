// Owns what a request to execute a runbook has to be.
// Refuses to own whether it may begin now (admission.ts). Pure.
// Invariant: what passes fits the runbook's definition; nothing unknown is kept, and nothing that moves a cursor.
import { BrokerError } from "../../storage/broker_error.ts";
import type { ExecutionRequest, Runbook, RunbookDefinition } from "./types.ts";

/** The runbook of that name. Throws NOT_FOUND. */
export function knownRunbook(runbooks: ReadonlyMap<string, Runbook>, name: string): Runbook {
  const runbook = runbooks.get(name);
  if (runbook !== undefined) return runbook;
  throw new BrokerError("NOT_FOUND", `there is no runbook ${name}`, { runbook: name });
}

/** The request's parameters. Throws INVALID_REQUEST; INVALID_EXECUTION_STATE where the runbook is declared only. */
export function checkedRequest(
  definition: RunbookDefinition,
  { target, parameters = {} }: ExecutionRequest,
): Readonly<Record<string, string>> {
  const { name, targetKinds, available } = definition;
  if (!available) {
    const message =
      `runbook ${name} is declared only: it needs what a broker that is alone does not have`;
    throw new BrokerError("INVALID_EXECUTION_STATE", message, { runbook: name });
  }
  refuseControls(target.name, "the target");
  if (!targetKinds.includes(target.type) || (target.type !== "none" && target.name === "")) {
    const message = `runbook ${name} is for a target of type ${targetKinds.join(" or ")}, not ` +
      `${target.type} ${JSON.stringify(target.name)}`;
    throw new BrokerError("INVALID_REQUEST", message, { targetKinds });
  }
  for (const [given, value] of Object.entries(parameters)) {
    refuseControls(value, `parameter ${given}`);
    if (definition.parameters.some((known) => known.name === given)) continue;
    throw new BrokerError("INVALID_REQUEST", `runbook ${name} has no parameter ${given}`, {
      parameters: definition.parameters.map((known) => known.name),
    });
  }
  for (const { name: needed, required } of definition.parameters) {
    if (!required || parameters[needed] !== undefined) continue;
    throw new BrokerError("INVALID_REQUEST", `runbook ${name} needs parameter ${needed}`, {
      parameter: needed,
    });
  }
  return parameters;
}

/** A terminal that shows it would do what it says. */
function refuseControls(text: string, what: string): void {
  if (!/\p{Cc}/u.test(text)) return;
  throw new BrokerError("INVALID_REQUEST", `${what} holds control characters`);
}
