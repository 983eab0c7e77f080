// Owns which commands there are. Refuses to own any of them.
// Invariant: their order here is that of the help.
import type { CommandTree } from "./command.ts";
import { acls, keys, quotas } from "./commands/access.ts";
import { alerts, thresholds } from "./commands/alerts.ts";
import { audit } from "./commands/audit.ts";
import { cluster } from "./commands/cluster.ts";
import { consume } from "./commands/consume.ts";
import { deadLetters } from "./commands/dead_letters.ts";
import { doctor } from "./commands/doctor.ts";
import { groups } from "./commands/groups.ts";
import { offsets } from "./commands/offsets.ts";
import { profiles } from "./commands/profiles.ts";
import { publish } from "./commands/publish.ts";
import { replays } from "./commands/replays.ts";
import { runbooks } from "./commands/runbooks.ts";
import { topics } from "./commands/topics.ts";
import { traces } from "./commands/traces.ts";

export const COMMANDS: CommandTree = {
  topics,
  publish,
  consume,
  groups,
  offsets,
  dlq: deadLetters,
  replay: replays,
  keys,
  acls,
  quotas,
  audit,
  alerts,
  thresholds,
  runbooks,
  traces,
  cluster,
  profiles,
  doctor,
};
