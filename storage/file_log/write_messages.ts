// Owns what the event loop and the write thread say to each other.
// Refuses to own saying it. Invariant: plain data and shared memory; an answer for every request that has an id.

export type WriteRequest =
  | {
    readonly type: "write";
    readonly id: number;
    /** Of one open file: the thread opens it by its path at the first write, and checks that it is the same file. */
    readonly handle: number;
    readonly path: string;
    readonly device: number;
    readonly inode: number;
    readonly memory: SharedArrayBuffer;
    readonly offset: number;
    readonly length: number;
    readonly position: number;
  }
  | { readonly type: "close"; readonly handle: number };

export type WriteAnswer =
  | { readonly id: number; readonly written: number }
  | { readonly id: number; readonly message: string; readonly code: string | null };
