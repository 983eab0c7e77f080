// Owns the figures that the door tells of itself. Refuses to own counting (guard.ts).
// Invariant: figures alone, no addresses.

export interface DoorCounts {
  /** Open connections, WebSockets among them. */
  readonly connections: number;
  readonly sockets: number;
  /** Those that were ended for one of the bounds. */
  readonly ended: number;
}

/** Of a door that is not watched, or not open yet. */
export const NOTHING_COUNTED: DoorCounts = Object.freeze({ connections: 0, sockets: 0, ended: 0 });
