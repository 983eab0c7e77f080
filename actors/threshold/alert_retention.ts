// Owns letting go of old entries of the alerts' journal: how alerts and silences are written down once more before that.
// Refuses to own the rules of it (runtime/journal_retention.ts).
// Invariant: replayed from its new start, the journal gives the same alerts and silences.
import type { Clock } from "../../storage/ports.ts";
import {
  type RecordingShard,
  type RetainedPartition,
  retainJournal,
  type RetainOptions,
} from "../runtime/journal_retention.ts";
import type { AlertJournal } from "./alert_journal.ts";
import type { AlertsState } from "./state.ts";
import type { Alert } from "./types.ts";

/** The journal keeps what is younger than this. */
const JOURNAL_WINDOW_MS = 90 * 24 * 3_600_000;

type Word =
  | { readonly type: "nothing" }
  | { readonly type: "record"; readonly key: string }
  | { readonly type: "complete"; readonly fromOffset: number };

const WORDS = {
  nothing: () => ({ type: "nothing" as const }),
  record: (key: string) => ({ type: "record" as const, key }),
  complete: (fromOffset: number) => ({ type: "complete" as const, fromOffset }),
};

export interface RetainedAlerts {
  readonly state: () => AlertsState;
  readonly journal: AlertJournal;
  readonly clock: Clock;
}

export interface RetainAlertsOptions extends Pick<RetainOptions, "minDroppableOffsets"> {
  readonly partition: RetainedPartition;
  readonly completeFrom: number;
  /** Trusted wall time, ms. */
  readonly now: number;
}

/** Drops what may be dropped; resolves to from where on the journal is known to hold all there is. */
export function retainAlerts(of: RetainedAlerts, options: RetainAlertsOptions): Promise<number> {
  return retainJournal<unknown, Word>(recording(of), WORDS, {
    ...options,
    windowMs: JOURNAL_WINDOW_MS,
  });
}

/** The alerts as the rules see them: an alert or a silence is a key. */
function recording({ state, journal, clock }: RetainedAlerts): RecordingShard<unknown, Word> {
  return {
    ask: async (_key, command) => {
      const at = clock.now();
      if (command.type === "complete") {
        journal.add([{ v: 1, type: "JournalCompleted", at, fromOffset: command.fromOffset }]);
      } else if (command.type === "record") record(state(), journal, { key: command.key, at });
      await journal.flush();
    },
    query: (project) => {
      const { silences } = state();
      return Promise.resolve(project(
        new Map<string, unknown>([
          ...writtenAlerts(state()).map((alert) => [alert.alertId, alert] as const),
          ...silences,
        ]),
      ));
    },
  };
}

/** Oldest first, so that the newest ones are the newest again when they are read. */
function writtenAlerts({ live, resolved }: AlertsState): Alert[] {
  const firing = [...live.values()].map(({ alert }) => alert)
    .filter((alert) => alert.state === "firing");
  return [...resolved.toReversed(), ...firing];
}

function record(
  state: AlertsState,
  journal: AlertJournal,
  { key, at }: { readonly key: string; readonly at: number },
): void {
  const alert = writtenAlerts(state).find(({ alertId }) => alertId === key);
  if (alert !== undefined) journal.add([{ v: 1, type: "AlertRecorded", at, alert }]);
  const silence = state.silences.get(key);
  if (silence !== undefined) {
    journal.add([{ v: 1, type: "SeriesSilenced", at, series: key, ...silence }]);
  }
}
