// Owns running the log's own suites over encrypted logs: every rule of crashes, torn tails and cuts holds there too.
// Suites that count bytes of segments are left out: what is stored is larger than what was appended.
import { atRest } from "./support/simulated_logs.ts";

atRest.encryption = "aes-256-gcm";

await import("./file_log_crash_test.ts");
await import("./file_log_torn_tail_test.ts");
await import("./file_log_cut_test.ts");
await import("./file_log_life_test.ts");
