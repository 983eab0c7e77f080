// Owns one member of a group over its sessions: it comes, stays a while, goes in one of many ways, and comes back.
// Refuses to own a session (member_session.ts).
// Invariant: it has at most one session; while all is calm it stays.
import { BrokerError } from "../../../storage/broker_error.ts";
import { ConnectionLost } from "../incarnation.ts";
import type { ClientScene, GroupLedgers } from "../client_scene.ts";
import { MemberSession, type MemberSpec } from "./member_session.ts";

const MAX_AWAY_MS = 2_000;
const MAX_STEP_MS = 40;
/** Steps between two whims, on average. */
const WHIM_ONE_IN = 80;
/** A member that hangs is silent for this many session timeouts. */
const MAX_HANG_FACTOR = 2;

export class Member {
  session: MemberSession | null = null;
  #formerId: string | null = null;

  constructor(
    private readonly simulation: ClientScene,
    private readonly ledgers: GroupLedgers,
    readonly spec: MemberSpec,
  ) {}

  async run(): Promise<void> {
    const { world, machine } = this.simulation;
    while (world.phase !== "ended") {
      await world.sleep(world.between(1, MAX_AWAY_MS));
      if (machine.broker === null) continue;
      const session = new MemberSession(
        this.simulation,
        this.ledgers,
        this.spec,
        world.oneIn(2) ? this.#formerId : null,
      );
      await refusalsAside(() => this.#live(session));
      session.close();
      this.session = null;
      this.#formerId = session.memberId;
    }
  }

  async #live(session: MemberSession): Promise<void> {
    const { world, machine } = this.simulation;
    const process = machine.starts;
    await session.join();
    this.session = session;
    let heartbeatAt = 0;
    while (!session.isOver && world.phase !== "ended") {
      await world.sleep(world.between(1, MAX_STEP_MS));
      if (machine.broker === null || machine.starts !== process) return;
      if (world.time.monotonic() >= heartbeatAt) {
        heartbeatAt = world.time.monotonic() + this.spec.sessionTimeoutMs / 3;
        await refusalsAside(() => session.heartbeat());
      }
      await refusalsAside(() => session.step());
      if (world.phase === "draining") await refusalsAside(() => session.commitAll());
      if (world.phase === "faults" && world.oneIn(WHIM_ONE_IN)) await this.#followWhim(session);
    }
  }

  async #followWhim(session: MemberSession): Promise<void> {
    const { world } = this.simulation;
    const whim = world.chance.pick(["leave", "disconnect", "vanish", "hang"] as const);
    if (whim !== "hang") return await session.end(whim);
    world.note(this.spec.name, "hangs");
    await world.sleep(world.between(0, MAX_HANG_FACTOR * this.spec.sessionTimeoutMs));
  }
}

/** Runs `run`; a refusal is an answer like any other, but a lost connection ends the session. */
async function refusalsAside(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof BrokerError || error instanceof ConnectionLost)) throw error;
  }
}
