// Owns who hears what a group tells its members, and which of them the group knows as members.
// Refuses to own what they are told (decide.ts) and sessions.
// Invariant: one listener a member; who was a member and is none any more after a recovery hears so, nobody else does.
import type { Cancel } from "../../storage/ports.ts";
import type { GroupNotification } from "./types.ts";
import { holds, type Table } from "./table.ts";

type Listener = (notification: GroupNotification) => void;

interface Entry {
  readonly listener: Listener;
  /** The group has answered it as a member; false for who is still joining. */
  isMember: boolean;
}

export class MemberListeners {
  /** By group, then by member. */
  private readonly groups = new Map<string, Map<string, Entry>>();

  /** A later listener of a member replaces the earlier. */
  add({ group, memberId }: { group: string; memberId: string }, listener: Listener): Cancel {
    const entry: Entry = { listener, isMember: false };
    const entries = this.groups.get(group) ?? new Map<string, Entry>();
    this.groups.set(group, entries.set(memberId, entry));
    return () => {
      if (entries.get(memberId) !== entry) return;
      entries.delete(memberId);
      if (entries.size === 0 && this.groups.get(group) === entries) this.groups.delete(group);
    };
  }

  /** The group has let it in, or answered its sign of life. */
  confirm(group: string, memberId: string): void {
    const entry = this.groups.get(group)?.get(memberId);
    if (entry !== undefined) entry.isMember = true;
  }

  tell(group: string, memberId: string, notification: GroupNotification): void {
    this.groups.get(group)?.get(memberId)?.listener(notification);
  }

  /**
   * The group has been read from its journal, which says that these are its members. An end of a session whose append
   * had an unknown outcome was told to nobody.
   */
  endAllBut(group: string, members: Table<unknown>): void {
    for (const [memberId, entry] of [...this.groups.get(group) ?? []]) {
      if (!entry.isMember || holds(members, memberId)) continue;
      entry.isMember = false;
      entry.listener({ type: "removed", reason: "timed out" });
    }
  }
}
