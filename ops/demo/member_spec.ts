// Owns what a member process is told when it starts. Refuses to own doing it (member.ts).
// Invariant: plain JSON, in one argument.

export interface MemberSpec {
  readonly url: string;
  readonly topic: string;
  readonly group: string;
  /** Its name in lists and in the ledger. */
  readonly member: string;
  /** Path of the ledger. */
  readonly ledger: string;
}
