// Owns what a data directory says of itself: the id that was made with it, and the cluster that it has joined.
// Refuses to own who may join (ops/cluster/adoption.ts). Invariant: the id never changes; what was written is durable.
import type { Disk, Randomness } from "../ports.ts";
import { readWhole, replaceFile } from "./whole_files.ts";

const DIRECTORY = "node";
const NAME = "identity.json";
const MAX_BYTES = 4_096;
const VERSION = 1;

/** A cluster, by the id that its metadata store holds. */
export interface JoinedCluster {
  readonly name: string;
  readonly clusterId: string;
}

interface Kept {
  readonly version: number;
  readonly diskId: string;
  readonly joined: JoinedCluster | null;
}

export class NodeIdentity {
  private constructor(private readonly disk: Disk, private kept: Kept) {}

  /** Null: there is none yet. Rejects with a plain Error when what is there cannot be read as one. */
  static async read(disk: Disk): Promise<NodeIdentity | null> {
    const bytes = await readWhole(disk, `${DIRECTORY}/${NAME}`, MAX_BYTES);
    return bytes === null ? null : new NodeIdentity(disk, parsed(bytes));
  }

  /** Reads it, or makes it. */
  static async open(disk: Disk, randomness: Randomness): Promise<NodeIdentity> {
    const known = await NodeIdentity.read(disk);
    if (known !== null) return known;
    const made = new NodeIdentity(disk, {
      version: VERSION,
      diskId: randomness.uuid(),
      joined: null,
    });
    await disk.makeDirectory(DIRECTORY);
    await disk.syncDirectory("");
    await made.#write(made.kept);
    return made;
  }

  /** Another one has lost what this node held. */
  get diskId(): string {
    return this.kept.diskId;
  }

  /** Null: what is here is a single node's. */
  get joined(): JoinedCluster | null {
    return this.kept.joined;
  }

  /** Durable when it resolves. */
  async join(cluster: JoinedCluster): Promise<void> {
    await this.#write({ ...this.kept, joined: cluster });
  }

  async #write(kept: Kept): Promise<void> {
    const bytes = new TextEncoder().encode(`${JSON.stringify(kept)}\n`);
    const at = { directory: DIRECTORY, name: NAME };
    await replaceFile(this.disk, at, { bytes, durable: true });
    this.kept = kept;
  }
}

function parsed(bytes: Uint8Array): Kept {
  try {
    const kept = JSON.parse(new TextDecoder().decode(bytes)) as Kept;
    if (kept.version === VERSION && typeof kept.diskId === "string") return kept;
  } catch {
    // Said below.
  }
  throw new Error(
    `${DIRECTORY}/${NAME} in the data directory is damaged, or of a newer release: ` +
      "restore it, or move the data directory away to begin as a new broker",
  );
}
