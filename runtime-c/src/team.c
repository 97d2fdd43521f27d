/* SPDX-License-Identifier: Apache-2.0 */
/* The threads of a run: helpers that sleep, work and join inside the model's own code, or the caller's own threads. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>

#include "internal.h"

#define STACK_BYTES ((size_t)1 << 20)

typedef int32_t (*run_function)(uint64_t *context, int64_t thread, int64_t threads);
typedef int32_t (*drive_function)(void *team);
typedef int32_t (*serve_function)(void *team, int64_t thread);

_Static_assert(sizeof(sem_t) <= SMI_LINE, "semaphores lie 64 bytes apart");
_Static_assert(sizeof(pthread_t) <= sizeof(uint64_t), "a thread's name fits a word");

/* ---- floating-point environment ---------------------------------------------------------------------------------- */

/* The control registers that the code depends on: what fegetenv and fesetenv do, without the mathematics library that
 * some systems keep them in. */
typedef struct environment {
  uint64_t control, status;
} environment;

#if defined(__x86_64__)
static void read_environment(environment *e) {
  uint32_t control;
  __asm__ volatile("stmxcsr %0" : "=m"(control));
  e->control = control;
  e->status = 0;
}

static void write_environment(const environment *e) {
  uint32_t control = (uint32_t)e->control;
  __asm__ volatile("ldmxcsr %0" : : "m"(control) : "memory");
}

static const environment usual = {0x1f80, 0};
#else
static void read_environment(environment *e) {
  __asm__ volatile("mrs %0, fpcr" : "=r"(e->control));
  __asm__ volatile("mrs %0, fpsr" : "=r"(e->status));
}

static void write_environment(const environment *e) {
  __asm__ volatile("msr fpcr, %0" : : "r"(e->control) : "memory");
  __asm__ volatile("msr fpsr, %0" : : "r"(e->status) : "memory");
}

static const environment usual = {0, 0};
#endif

static int get_environment(void *room) {
  environment e;
  read_environment(&e);
  memcpy(room, &e, sizeof(e));
  return 0;
}

/* The code asks for the usual environment by the address -1. */
static int set_environment(const void *room) {
  environment e = usual;
  if ((uintptr_t)room != UINTPTR_MAX) memcpy(&e, room, sizeof(e));
  write_environment(&e);
  return 0;
}

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

void smi_team_start(smi_team *team, void *memory, const smalti_model *model) {
  team->words = memory;
  team->semaphores = (uint8_t *)memory + SMI_TEAM_WORDS * 8;
  team->drive = model->code + model->manifest.drive;
  team->serve = model->code + model->manifest.serve;
  team->run = model->code + model->manifest.entry;
  team->count = 0;
  team->words[SMI_TEAM_WAIT] = (uint64_t)(uintptr_t)sem_wait;
  team->words[SMI_TEAM_POST] = (uint64_t)(uintptr_t)sem_post;
  team->words[SMI_TEAM_SEMAPHORES] = (uint64_t)(uintptr_t)team->semaphores;
  team->words[SMI_TEAM_YIELD] = (uint64_t)(uintptr_t)sched_yield;
  team->words[SMI_TEAM_GET] = (uint64_t)(uintptr_t)get_environment;
  team->words[SMI_TEAM_SET] = (uint64_t)(uintptr_t)set_environment;
}

uint64_t smi_yield_address(void) { return (uint64_t)(uintptr_t)sched_yield; }

static sem_t *semaphore(const smi_team *team, int64_t number) {
  return (sem_t *)(void *)(team->semaphores + SMI_LINE * (uint64_t)number);
}

static void *help(void *argument) {
  const smi_helper *helper = argument;
  serve_function serve = (serve_function)(uintptr_t)helper->team->serve;
  serve(helper->team->words, helper->number);
  return NULL;
}

static int start_helper(smi_team *team, int64_t number) {
  smi_helper *helper = &team->helpers[number - 1];
  pthread_attr_t attributes;
  pthread_t thread;
  helper->team = team;
  helper->number = number;
  if (sem_init(semaphore(team, number), 0, 0) != 0) return -1;
  int failed = pthread_attr_init(&attributes);
  if (failed == 0) {
    failed = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (failed == 0) failed = pthread_create(&thread, &attributes, help, helper);
    (void)pthread_attr_destroy(&attributes);
  }
  if (failed != 0) {
    (void)sem_destroy(semaphore(team, number));
    return failed;
  }
  memcpy(&helper->thread, &thread, sizeof(thread));
  return 0;
}

static smalti_status grow(smi_team *team, int64_t count, smalti_error *error) {
  if (team->count >= count) return SMALTI_OK;
  sigset_t all, before;
  (void)sigfillset(&all);
  int masked = pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to the program's own threads */
  while (team->count < count && start_helper(team, team->count + 1) == 0) team->count++;
  if (masked == 0) (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (team->count >= count) return SMALTI_OK;
  return smi_fail(error, SMALTI_RESOURCE, "cannot start %lld threads (%lld run): ask for fewer", (long long)(count + 1),
                  (long long)(team->count + 1));
}

static smalti_status check(int64_t code_status, smalti_error *error) {
  if (code_status == 0) return SMALTI_OK;
  return smi_fail(error, SMALTI_INTERNAL, "the model's code reports failure %lld", (long long)code_status);
}

smalti_status smi_team_run(smi_team *team, uint64_t *context, int64_t threads, smalti_error *error) {
  smalti_status status = grow(team, threads - 1, error);
  if (status != SMALTI_OK) return status;
  team->words[SMI_TEAM_CONTEXT] = (uint64_t)(uintptr_t)context;
  team->words[SMI_TEAM_THREADS] = (uint64_t)threads;
  drive_function drive = (drive_function)(uintptr_t)team->drive;
  return check(drive(team->words), error);
}

void smi_team_end(smi_team *team) {
  if (team->count == 0) return;
  __atomic_store_n(&team->words[SMI_TEAM_STOP], 1, __ATOMIC_RELEASE);
  for (int64_t number = 1; number <= team->count; number++) (void)sem_post(semaphore(team, number));
  for (int64_t number = 1; number <= team->count; number++) {
    pthread_t thread;
    memcpy(&thread, &team->helpers[number - 1].thread, sizeof(thread));
    (void)pthread_join(thread, NULL);
    (void)sem_destroy(semaphore(team, number));
  }
  team->count = 0;
}

/* ---- the caller's threads ---------------------------------------------------------------------------------------- */

typedef struct loan {
  const smi_team *team;
  uint64_t *context;
  int64_t threads;
  _Atomic int64_t done, failed;
} loan;

static void lent_task(void *argument, int64_t index) {
  loan *l = argument;
  environment before;
  read_environment(&before);
  write_environment(&usual);
  run_function run = (run_function)(uintptr_t)l->team->run;
  int32_t failed = run(l->context, index, l->threads);
  write_environment(&before);
  if (failed != 0) atomic_store(&l->failed, failed);
  atomic_fetch_add(&l->done, 1);
}

smalti_status smi_team_lend(smi_team *team, uint64_t *context, int64_t threads, smalti_parallel_for parallel_for,
                            void *pool, smalti_error *error) {
  loan l = {.team = team, .context = context, .threads = threads};
  atomic_init(&l.done, 0);
  atomic_init(&l.failed, 0);
  if (threads == 1) {
    lent_task(&l, 0);
  } else if (parallel_for(pool, threads, lent_task, &l) != 0) {
    return smi_fail(error, SMALTI_RESOURCE, "parallel_for refuses to run %lld tasks", (long long)threads);
  }
  if (atomic_load(&l.done) != threads) {
    return smi_fail(error, SMALTI_USAGE, "parallel_for ran %lld of %lld tasks", (long long)atomic_load(&l.done),
                    (long long)threads);
  }
  return check(atomic_load(&l.failed), error);
}
