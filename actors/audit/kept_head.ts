// Owns what the metadata store keeps of the audit log: its newest entry, and what its first one comes after.
// Refuses to own the log itself.
// Invariant: the head is never ahead of what is durable in the log, so that a log that ends before it was cut.
import { BrokerError } from "../../storage/broker_error.ts";
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import { GENESIS } from "./chain.ts";
import type { AuditHead } from "./types.ts";

const HEAD_KEY: MetadataKey = ["audit", "head"];
const ANCHOR_KEY: MetadataKey = ["audit", "anchor"];

/** The newest entry, and where to look for what has not ended. */
export interface KeptHead extends AuditHead {
  /** Offset of the entry; -1 when there is none. */
  readonly offset: number;
  /** Every intent without an outcome lies at this offset or after it. */
  readonly openFrom: number;
}

/** The entry after which the log begins: it and those before it may have been let go. */
export interface KeptAnchor extends AuditHead {
  readonly at: number;
}

export const NO_HEAD: KeptHead = Object.freeze({ ...GENESIS, offset: -1, openFrom: 0 });
export const NO_ANCHOR: KeptAnchor = Object.freeze({ ...GENESIS, at: 0 });

export class KeptHeads {
  #version: string | null = null;

  constructor(private readonly metadata: MetadataStore) {}

  /** What is kept, which the next `moveHead` must still find. */
  async loadHead(): Promise<KeptHead> {
    const entry = await this.metadata.get(HEAD_KEY);
    this.#version = entry?.version ?? null;
    return (entry?.value as KeptHead | undefined) ?? NO_HEAD;
  }

  /** METADATA_CONFLICT when another has moved it. */
  async moveHead(head: KeptHead): Promise<void> {
    const checks = [{ key: HEAD_KEY, version: this.#version }];
    if (!await this.metadata.commit({ checks, sets: [{ key: HEAD_KEY, value: head }] })) {
      throw new BrokerError("METADATA_CONFLICT", "another broker has written to the audit log");
    }
    this.#version = (await this.metadata.get(HEAD_KEY))?.version ?? null;
  }

  async peekHead(): Promise<KeptHead> {
    return ((await this.metadata.get(HEAD_KEY))?.value as KeptHead | undefined) ?? NO_HEAD;
  }

  async loadAnchor(): Promise<KeptAnchor> {
    return ((await this.metadata.get(ANCHOR_KEY))?.value as KeptAnchor | undefined) ?? NO_ANCHOR;
  }

  async setAnchor(anchor: KeptAnchor): Promise<void> {
    const before = await this.metadata.get(ANCHOR_KEY);
    const checks = [{ key: ANCHOR_KEY, version: before?.version ?? null }];
    if (!await this.metadata.commit({ checks, sets: [{ key: ANCHOR_KEY, value: anchor }] })) {
      throw new BrokerError("METADATA_CONFLICT", "another broker lets go of old audit entries");
    }
  }
}
