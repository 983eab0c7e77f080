// Owns the version of what a Deno KV database holds, and bringing an older one forward.
// Refuses to know what a version looks like: each store has its own list of migrations. Never goes back.
// Invariant: a step's writes happen only while the database is at the version before it, whoever else migrates.
import { asStorage, commitAtomic } from "./kv_database.ts";

/** Times that other instances may get in between before opening is given up. */
const MAX_MIGRATION_ATTEMPTS = 32;

/** One step. It may be cut short and run again: writing the same twice must do no harm. */
export interface Migration {
  /** Version after it; the first of a list is 1, each next one more. */
  readonly to: number;
  /** Makes the changes, each commit of which happens only if the database is still at `to - 1`; at most 99 checks of its own. */
  run(kv: Deno.Kv, commit: (operation: Deno.AtomicOperation) => Promise<void>): Promise<void>;
}

interface SchemaRecord {
  readonly version: number;
}

class OvertakenError extends Error {}

/**
 * Brings the database to the newest version of `migrations`; `key` holds its version, and a new database is at 0.
 * Throws a plain Error when it is at a version that `migrations` does not know: a newer release wrote it.
 */
export async function migrate(
  kv: Deno.Kv,
  key: Deno.KvKey,
  options: { migrations: readonly Migration[]; name: string },
): Promise<void> {
  const { migrations, name } = options;
  checkList(migrations);
  for (let attempt = 0; attempt < MAX_MIGRATION_ATTEMPTS + migrations.length; attempt++) {
    const at = await asStorage(`read the schema of ${name}`, () => kv.get<SchemaRecord>(key));
    const version = at.value?.version ?? 0;
    if (version > migrations.length) {
      throw new Error(
        `${name} is at schema version ${version}, and this release knows up to ${migrations.length}: ` +
          `a newer release has written it; run that one, or restore the data from before`,
      );
    }
    const next = migrations[version];
    if (next === undefined) return;
    await step(kv, at, next).catch((error) => {
      if (!(error instanceof OvertakenError)) throw error;
    });
  }
  throw new Error(`${name} could not be migrated: others keep changing its schema version`);
}

async function step(
  kv: Deno.Kv,
  at: Deno.KvEntryMaybe<SchemaRecord>,
  migration: Migration,
): Promise<void> {
  const commit = async (operation: Deno.AtomicOperation) => {
    const action = `migrate to schema version ${migration.to}`;
    const result = await commitAtomic(action, operation.check(at));
    if (!result.ok) throw new OvertakenError(`overtaken at version ${migration.to}`);
  };
  await migration.run(kv, commit);
  await commit(kv.atomic().set(at.key, { version: migration.to } satisfies SchemaRecord));
}

function checkList(migrations: readonly Migration[]): void {
  migrations.forEach(({ to }, index) => {
    if (to !== index + 1) throw new Error(`migration ${index} leads to version ${to}`);
  });
}
