// Owns pausing jobs whose owners may not do any more what they do.
// Refuses to own who may start and steer one (job_access.ts) and the jobs (actors/job).
// Invariant: a job that runs after a change of ACLs was found allowed under them, or is an administrator's.
import { recordOwnAction } from "../actors/audit/system_actions.ts";
import type { Broker } from "../actors/broker.ts";
import type { JobView, OwnedJob } from "../actors/job/types.ts";
import type { Owner } from "../actors/ownership.ts";
import { BrokerError } from "../storage/broker_error.ts";
import type { Access } from "./auth/access.ts";
import type { Authorizer, Need } from "./auth/authorizer.ts";
import { jobNeeds } from "./job_access.ts";

/** Who is written into the history of a job that was paused so. */
const JOB_RIGHTS = "system:access-control";

export interface JobRightsOptions {
  readonly broker: Pick<Broker, "jobs" | "audit">;
  readonly authorizer: Authorizer;
  /** Hears of the broker's own faults. */
  readonly onError: (error: unknown) => void;
}

/** In whose rights a job goes on that `access` starts or resumes; null: an administrator's, who keeps them. */
export function jobOwnerOf({ isAdministrator, principal, tenant }: Access): Owner | null {
  return isAdministrator ? null : { principal, tenant };
}

/**
 * The job as it is, or paused where its owner may not do what it does: ACLs may change also while a job is being made. Rejects
 * as `Jobs.pause` does.
 */
export async function heldToRights(
  { broker, authorizer }: Pick<JobRightsOptions, "broker" | "authorizer">,
  { job, owner }: { readonly job: JobView; readonly owner: Owner | null },
): Promise<JobView> {
  if (owner === null || (job.state !== "pending" && job.state !== "running")) return job;
  const access = accessOf(owner);
  const lost = jobNeeds(job).find(({ operation, resource, name }) =>
    !authorizer.allows(access, operation, resource, name)
  );
  if (lost === undefined) return job;
  const { jobId } = job;
  const reason = reasonOf(owner, lost);
  const paused = await broker.jobs.pause({ jobId, principal: JOB_RIGHTS, reason });
  // It stands in the job's own history, and holds, also where it cannot be audited just now.
  await recordOwnAction(broker.audit, {
    actor: JOB_RIGHTS,
    action: "job.pause",
    resource: { type: "job", name: jobId },
    after: { state: paused.state, done: paused.done },
    reason,
  }).catch(() => undefined);
  return paused;
}

export class JobRights {
  #isChecking = false;
  #isDue = false;

  constructor(private readonly options: JobRightsOptions) {
    options.authorizer.onChanged(() => void this.check());
    // What a crash came between is made up for.
    void this.check();
  }

  /** Changes that come while jobs are looked at are looked at together afterwards. Never rejects. */
  async check(): Promise<void> {
    this.#isDue = true;
    if (this.#isChecking) return;
    this.#isChecking = true;
    try {
      while (this.#isDue) {
        this.#isDue = false;
        for (const owned of await this.options.broker.jobs.owned()) await this.#look(owned);
      }
    } catch (error) {
      this.#report(error);
    } finally {
      this.#isChecking = false;
    }
  }

  async #look(owned: OwnedJob): Promise<void> {
    try {
      await heldToRights(this.options, owned);
    } catch (error) {
      this.#report(error);
    }
  }

  /** A job that has ended meanwhile, or a broker that is closing, is no fault. */
  #report(error: unknown): void {
    if (!(error instanceof BrokerError) || error.code === "INTERNAL") this.options.onError(error);
  }
}

/** A job outlives the credential with which it was asked for. */
function accessOf(owner: Owner): Access {
  return { ...owner, isAdministrator: false, ended: () => null, leftMs: () => Infinity };
}

function reasonOf({ principal }: Owner, { operation, resource, name }: Need): string {
  return `no ACL allows ${principal} ${operation} on ${resource} ${name} any more`;
}
