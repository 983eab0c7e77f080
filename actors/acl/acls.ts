// Owns the ACLs of this broker: the port over the set that is kept of them.
// Refuses to own what a change means (decide.ts), keeping it (runtime/kept_entries.ts) and what an ACL opens (api/auth/).
// Invariant: what is listed is durable.
import type { MetadataStore } from "../../storage/metadata.ts";
import type { Clock, Timers } from "../../storage/ports.ts";
import { KeptEntries } from "../runtime/kept_entries.ts";
import { type AclCommand, type AclEvent, changeOfAcls, decideAcls } from "./decide.ts";
import type { Acl, Acls, NewAcl } from "./types.ts";

/** All of them are in memory, about 500 bytes each. */
const MAX_ACLS = 10_000;

export interface AclsPorts {
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Default: MAX_ACLS. */
  readonly maxAcls?: number;
}

export class LocalAcls implements Acls {
  #listed: readonly Acl[] | null = null;

  private constructor(
    private readonly kept: KeptEntries<Acl, AclCommand, AclEvent>,
    private readonly clock: Clock,
  ) {
    // The first listener: whoever is told later lists what is new.
    kept.onChanged(() => this.#listed = null);
  }

  /** Reads all ACLs. */
  static async open(
    { metadata, clock, timers, maxAcls = MAX_ACLS }: AclsPorts,
  ): Promise<LocalAcls> {
    const kept = await KeptEntries.open<Acl, AclCommand, AclEvent>({
      name: "ACLs",
      prefix: ["acls"],
      metadata,
      timers,
      rules: {
        decide: (state, command) => decideAcls(state, command, { maxAcls }),
        changeOf: changeOfAcls,
      },
    });
    return new LocalAcls(kept, clock);
  }

  async create(acl: NewAcl): Promise<Acl> {
    const event = await this.kept.change({ type: "CreateAcl", acl, at: this.clock.now() });
    return event.acl;
  }

  async delete(aclId: string): Promise<void> {
    await this.kept.change({ type: "DeleteAcl", aclId });
  }

  find(aclId: string): Acl | null {
    return this.kept.entries.get(aclId) ?? null;
  }

  list(): readonly Acl[] {
    return this.#listed ??= [...this.kept.entries.values()];
  }

  onChanged(listener: () => void): () => void {
    return this.kept.onChanged(listener);
  }

  /** Refuses new changes (SHUTTING_DOWN); resolves when those accepted before have settled. */
  close(): Promise<void> {
    return this.kept.close();
  }
}
