// Owns small file systems of a test's own: tmpfs for a disk that fills up, ext4 in a file for a power that fails.
// Refuses to own what happens on them. Invariant: what is mounted is unmounted and removed at the end of its test.
import { run, works } from "./system_needs.ts";

/** A directory on which a file system is mounted, until it is disposed of. */
export interface Mount extends AsyncDisposable {
  readonly directory: string;
}

/** An empty file system in memory. */
export async function mountMemory(sizeBytes: number): Promise<Mount> {
  const directory = await Deno.makeTempDir({ prefix: "waybill-tmpfs-" });
  return await mounted(directory, ["-t", "tmpfs", "-o", `size=${sizeBytes}`, "tmpfs", directory]);
}

/** The ext4 file system in the file `image`, its journal replayed first where it was not unmounted. */
export async function mountImage(image: string): Promise<Mount> {
  const directory = await Deno.makeTempDir({ prefix: "waybill-ext4-" });
  return await mounted(directory, ["-t", "ext4", "-o", "loop", image, directory]);
}

/** Makes an empty ext4 file system in a new file. */
export async function makeImage(image: string, sizeBytes: number): Promise<void> {
  await Deno.writeFile(image, new Uint8Array(0));
  await Deno.truncate(image, sizeBytes);
  await run("mkfs.ext4", "-q", "-F", image);
}

export async function canMountMemory(): Promise<boolean> {
  try {
    await using _mount = await mountMemory(1_048_576);
    return true;
  } catch {
    return false;
  }
}

export async function canMountImages(): Promise<boolean> {
  if (!await works("mkfs.ext4", "-V")) return false;
  const image = await Deno.makeTempFile({ prefix: "waybill-image-" });
  try {
    await makeImage(image, 16 * 1_048_576);
    await using _mount = await mountImage(image);
    return true;
  } catch {
    return false;
  } finally {
    await Deno.remove(image);
  }
}

async function mounted(directory: string, args: readonly string[]): Promise<Mount> {
  try {
    await run("mount", ...args);
  } catch (error) {
    await Deno.remove(directory);
    throw error;
  }
  let gone = false;
  return {
    directory,
    async [Symbol.asyncDispose]() {
      if (gone) return;
      gone = true;
      await run("umount", directory);
      await Deno.remove(directory);
    },
  };
}
