// Owns what a dry run of a job found, in words. Refuses to own running it. Invariant: a bound is called one.
import type { Job } from "../answers.ts";
import { plural } from "../format.ts";
import { targetText } from "../jobs.ts";
import { Notice } from "./states.tsx";

export function JobPreview({ job }: { job: Job }) {
  const { total, totalExact, skipped, alreadyRedriven } = job;
  return (
    <Notice tone={total === 0 ? "info" : "warn"}>
      <p>
        {totalExact ? "" : "At most "}
        <b>{plural(total, "message")}</b> would be sent to {targetText(job)}.
        {alreadyRedriven > 0 && ` ${plural(alreadyRedriven, "letter")} redriven before ` +
            "would be left out."}
        {skipped > 0 && ` ${plural(skipped, "letter")} whose origin is gone would be left out.`}
      </p>
    </Notice>
  );
}
