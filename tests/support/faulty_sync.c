// Owns making the syncs of a real process fail or take long, as LD_PRELOAD, and telling what the process wrote and synced.
// Refuses to own when: files in the directory FAULTY_SYNC_DIR say so (faulty_sync.ts writes them).
// Invariant: a sync that fails here syncs nothing, fails once, and later ones of the same file succeed, as on Linux.
//
// fail:  a part of a path. The next sync of such a file fails with EIO; the file is renamed to "failed" by the one who does.
// delay: milliseconds, a space, a part of a path. Every sync of such a file waits that long first.
// trace: where a line is added for each write and sync of a *.log file.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES 4096

static const char *control_directory(void) { return getenv("FAULTY_SYNC_DIR"); }

static void control_path(char *into, const char *name) {
  snprintf(into, PATH_BYTES, "%s/%s", control_directory(), name);
}

/** The first line of a control file; 0 when it is not there. */
static int read_control(const char *name, char *into) {
  char path[PATH_BYTES];
  control_path(path, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t got = read(fd, into, PATH_BYTES - 1);
  close(fd);
  if (got <= 0) return 0;
  into[got] = 0;
  into[strcspn(into, "\n")] = 0;
  return 1;
}

static int path_of(int fd, char *into) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t got = readlink(link, into, PATH_BYTES - 1);
  if (got < 0) return 0;
  into[got] = 0;
  return 1;
}

static int is_log(const char *path) {
  size_t length = strlen(path);
  return length > 4 && strcmp(path + length - 4, ".log") == 0;
}

/** One write with O_APPEND: lines of several threads do not mix. */
static void trace(const char *format, ...) {
  char path[PATH_BYTES], line[PATH_BYTES + 128];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  control_path(path, "trace");
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  if (write(fd, line, length) != length) abort();
  close(fd);
}

static int must_fail(const char *path) {
  char part[PATH_BYTES], from[PATH_BYTES], to[PATH_BYTES];
  if (!read_control("fail", part) || strstr(path, part) == NULL) return 0;
  control_path(from, "fail");
  control_path(to, "failed");
  return rename(from, to) == 0;
}

static void wait_if_told(const char *path) {
  char text[PATH_BYTES];
  if (!read_control("delay", text)) return;
  char *part = strchr(text, ' ');
  if (part == NULL || strstr(path, part + 1) == NULL) return;
  long ms = atol(text);
  struct timespec left = {ms / 1000, (ms % 1000) * 1000000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
}

static int faulty_sync(int fd, const char *name) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  char path[PATH_BYTES];
  if (control_directory() == NULL || !path_of(fd, path)) return real(fd);
  wait_if_told(path);
  if (must_fail(path)) {
    trace("failed %s\n", path);
    errno = EIO;
    return -1;
  }
  int result = real(fd);
  if (is_log(path)) trace("%s %s\n", result == 0 ? "synced" : "failed", path);
  return result;
}

int fdatasync(int fd) { return faulty_sync(fd, "fdatasync"); }

int fsync(int fd) { return faulty_sync(fd, "fsync"); }

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t position) {
  ssize_t (*real)(int, const void *, size_t, off64_t) =
      (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
  ssize_t written = real(fd, bytes, count, position);
  int error = errno;
  char path[PATH_BYTES];
  if (control_directory() != NULL && written > 0 && path_of(fd, path) && is_log(path)) {
    trace("wrote %s %lld %zd\n", path, (long long)position, written);
  }
  errno = error;
  return written;
}
