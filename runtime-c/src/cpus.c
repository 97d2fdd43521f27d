/* SPDX-License-Identifier: Apache-2.0 */
/* How many CPUs this process may keep busy: its affinity mask, cut by the CPU quota of its control groups. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define PATH_ROOM 4352
#define NO_QUOTA 1e30

size_t smi_read_small_file(const char *path, char *room, size_t bytes) {
  size_t used = 0;
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  while (descriptor >= 0 && used + 1 < bytes) {
    ssize_t count = read(descriptor, room + used, bytes - 1 - used);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    used += (size_t)count;
  }
  if (descriptor >= 0) (void)close(descriptor);
  room[used] = '\0';
  return used;
}

static int64_t allowed_cpus(int64_t total) {
  for (size_t cpus = 1024; cpus <= (size_t)1 << 20; cpus *= 4) {
    size_t bytes = cpus / 8;
    cpu_set_t *set = calloc(1, bytes);
    if (set == NULL) return total;
    int failed = sched_getaffinity(0, bytes, set);
    int64_t count = 0;
    const unsigned char *mask = (const unsigned char *)set;
    for (size_t i = 0; failed == 0 && i < bytes; i++) count += __builtin_popcount(mask[i]);
    free(set);
    if (failed == 0) return count > 0 ? count : 1;
    if (errno != EINVAL) return total; /* EINVAL: the system's mask is larger */
  }
  return total;
}

/* A positive whole number, or 0. */
static double positive(const char *text, size_t bytes) {
  double value = 0;
  for (size_t i = 0; i < bytes; i++) {
    if (text[i] < '0' || text[i] > '9') return 0;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

static double ratio(const char *quota, size_t quota_bytes, const char *period, size_t period_bytes) {
  double q = positive(quota, quota_bytes), p = positive(period, period_bytes);
  return q > 0 && p > 0 ? q / p : NO_QUOTA; /* "max" or -1: no limit */
}

static size_t word_bytes(const char *text) { return strcspn(text, " \t\n\r\v\f"); }

static size_t space_bytes(const char *text) { return strspn(text, " \t\n\r\v\f"); }

static double quota_v2(const char *folder) {
  char path[PATH_ROOM], text[256];
  if ((size_t)snprintf(path, sizeof(path), "%s/cpu.max", folder) >= sizeof(path)) return NO_QUOTA;
  smi_read_small_file(path, text, sizeof(text));
  const char *first = text + space_bytes(text);
  size_t first_bytes = word_bytes(first);
  const char *second = first + first_bytes + space_bytes(first + first_bytes);
  size_t second_bytes = word_bytes(second);
  bool is_pair = second_bytes > 0 && second[second_bytes + space_bytes(second + second_bytes)] == '\0';
  return is_pair ? ratio(first, first_bytes, second, second_bytes) : NO_QUOTA;
}

static double quota_v1(const char *folder) {
  char path[PATH_ROOM], quota[256], period[256];
  if ((size_t)snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", folder) >= sizeof(path)) return NO_QUOTA;
  smi_read_small_file(path, quota, sizeof(quota));
  if ((size_t)snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", folder) >= sizeof(path)) return NO_QUOTA;
  smi_read_small_file(path, period, sizeof(period));
  const char *q = quota + space_bytes(quota), *p = period + space_bytes(period);
  return ratio(q, word_bytes(q), p, word_bytes(p));
}

static bool climbs(const char *path) {
  for (const char *at = path; *at != '\0'; at += strcspn(at, "/"), at += *at == '/') {
    if (strcspn(at, "/") == 2 && at[0] == '.' && at[1] == '.') return true;
  }
  return false;
}

/* The smallest quota of a control group and its parents. */
static double quota_below(const char *root, const char *mount, const char *below, double (*read_one)(const char *)) {
  char path[4096];
  if (climbs(below)) below = "";
  int written = snprintf(path, sizeof(path), "%s/sys/fs/cgroup%s", root, mount);
  size_t base = written > 0 ? (size_t)written : 0;
  if (base + 2 + strlen(below) > sizeof(path)) return NO_QUOTA;
  snprintf(path + base, sizeof(path) - base, "/%s", below);
  double least = NO_QUOTA;
  for (;;) {
    double quota = read_one(path);
    if (quota < least) least = quota;
    char *slash = strrchr(path + base, '/');
    if (slash == NULL) return least;
    *slash = '\0';
  }
}

static bool has_controller(const char *controllers, size_t bytes, const char *name) {
  for (size_t at = 0; at <= bytes;) {
    size_t length = strcspn(controllers + at, ",:");
    if (length == strlen(name) && memcmp(controllers + at, name, length) == 0) return true;
    at += length + 1;
  }
  return false;
}

/* One line of /proc/self/cgroup, "number:controllers:path". */
static double quota_of_line(const char *root, const char *line) {
  const char *controllers = strchr(line, ':');
  const char *path = controllers != NULL ? strchr(++controllers, ':') : NULL;
  if (path == NULL) return NO_QUOTA;
  size_t bytes = (size_t)(path - controllers);
  path += 1 + strspn(path + 1, "/");
  double least = NO_QUOTA;
  if (bytes == 0) {
    static const char *const mounts[] = {"", "/unified"};
    for (size_t i = 0; i < 2; i++) {
      double quota = quota_below(root, mounts[i], path, quota_v2);
      if (quota < least) least = quota;
    }
  } else if (has_controller(controllers, bytes, "cpu")) {
    char own[256];
    snprintf(own, sizeof(own), "/%.*s", (int)(bytes < 250 ? bytes : 250), controllers);
    const char *const mounts[] = {own, "/cpu", "/cpu,cpuacct"};
    for (size_t i = 0; i < 3; i++) {
      double quota = quota_below(root, mounts[i], path, quota_v1);
      if (quota < least) least = quota;
    }
  }
  return least;
}

static double smallest_quota(const char *root) {
  char path[4096], text[16384];
  if ((size_t)snprintf(path, sizeof(path), "%s/proc/self/cgroup", root) >= sizeof(path)) return NO_QUOTA;
  smi_read_small_file(path, text, sizeof(text));
  double least = NO_QUOTA;
  for (char *line = text; *line != '\0';) {
    size_t bytes = strcspn(line, "\n");
    bool last = line[bytes] == '\0';
    line[bytes] = '\0';
    double quota = quota_of_line(root, line);
    if (quota < least) least = quota;
    line += bytes + !last;
  }
  return least;
}

/* The decimal point is a point in every locale. */
static void print_quota(char *room, size_t bytes, double quota) {
  size_t used = 0;
  char text[64];
  snprintf(text, sizeof(text), "%.3g", quota);
  for (const char *at = text; *at != '\0' && used + 1 < bytes; at++) {
    if (strchr("0123456789e+-", *at) != NULL) {
      room[used++] = *at;
    } else if (used > 0 && room[used - 1] != '.') {
      room[used++] = '.';
    }
  }
  room[used] = '\0';
}

int64_t smi_usable_cpus(const char *root, char *reason, size_t bytes) {
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  int64_t total = online > 0 ? online : 1, count = allowed_cpus(total), allowed = count;
  double quota = smallest_quota(root);
  if (quota < NO_QUOTA) {
    int64_t whole = quota < (double)count ? (int64_t)(quota - 1e-9) + 1 : count;
    if (quota <= 1e-9) whole = 1;
    count = whole < count ? whole : count;
  }
  if (bytes > 0 && quota < NO_QUOTA) {
    char text[64];
    print_quota(text, sizeof(text), quota);
    snprintf(reason, bytes, "%lld: affinity mask allows %lld of %lld CPUs, cgroup quota of %s CPUs", (long long)count,
             (long long)allowed, (long long)total, text);
  } else if (bytes > 0) {
    snprintf(reason, bytes, "%lld: affinity mask allows %lld of %lld CPUs, no cgroup quota", (long long)count,
             (long long)allowed, (long long)total);
  }
  return count;
}

int64_t smalti_usable_cpus(char *reason, size_t bytes) { return smi_usable_cpus("", reason, reason != NULL ? bytes : 0); }
