// Owns what the system says of a process's memory. Refuses to own bounds. Invariant: figures are those of /proc, in bytes.

/** Memory in use now, and the most that ever was. */
export async function residentBytes(pid: number): Promise<{ now: number; peak: number }> {
  const text = await Deno.readTextFile(`/proc/${pid}/status`);
  const field = (name: string) => {
    const kib = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1];
    if (kib === undefined) throw new Error(`/proc/${pid}/status has no ${name}`);
    return Number(kib) * 1_024;
  };
  return { now: field("VmRSS"), peak: field("VmHWM") };
}
