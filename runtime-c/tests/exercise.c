/* SPDX-License-Identifier: Apache-2.0 */
/* Uses an engine as real programs do: from many threads, on the caller's threads and memory, in a child process.
 *
 *   exercise MODEL THREADS CALLS
 *
 * MODEL is the model of tests that reverses and doubles; every result is checked. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <smalti.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 700
#define MOST 64

static void check(smalti_status status, const smalti_error *error, const char *where) {
  if (status == SMALTI_OK) return;
  fprintf(stderr, "%s: %s: %s\n", where, smalti_status_name(status), error->message);
  exit(1);
}

static void must(int good, const char *what) {
  if (good) return;
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static smalti_status run_once(smalti_engine *engine, int64_t size, float first, smalti_error *error) {
  float x[SIZE], y[SIZE];
  for (int64_t i = 0; i < size; i++) x[i] = first + (float)i;
  memset(y, 0, sizeof(y));
  smalti_shape shape = {2, {1, size}};
  smalti_tensor in = {x, (size_t)size * sizeof(float), SMALTI_FLOAT32, shape};
  smalti_tensor out = {y, (size_t)size * sizeof(float), SMALTI_FLOAT32, shape};
  smalti_status status = smalti_engine_run(engine, &in, 1, &out, 1, error);
  for (int64_t i = 0; status == SMALTI_OK && i < size; i++) must(y[i] == 2 * x[size - 1 - i] + 0.5f, "wrong result");
  return status;
}

typedef struct caller {
  smalti_model *model;
  smalti_engine *shared;
  long number, calls;
} caller;

static void *call_often(void *argument) {
  const caller *c = argument;
  smalti_error error;
  smalti_engine *own = NULL;
  smalti_engine_options options = SMALTI_ENGINE_OPTIONS_INIT;
  options.threads = 1 + c->number % 3;
  check(smalti_engine_create(c->model, &options, &own, &error), &error, "create");
  for (long i = 0; i < c->calls; i++) {
    int64_t size = 1 + (c->number * 37 + i * 11) % SIZE;
    check(run_once(i % 2 == 0 ? own : c->shared, size, (float)i, &error), &error, "run");
    if (i % 50 == 0) check(smalti_engine_set_threads(c->shared, 1 + i / 50 % 3, &error), &error, "threads");
  }
  smalti_engine_destroy(own);
  return NULL;
}

typedef struct task {
  void (*run)(void *argument, int64_t index);
  void *argument;
  int64_t index;
} task;

static void *run_task(void *argument) {
  const task *t = argument;
  t->run(t->argument, t->index);
  return NULL;
}

/* A pool for tests: a new thread for each task but the first. */
static int parallel_for(void *pool, int64_t count, void (*run)(void *argument, int64_t index), void *argument) {
  pthread_t threads[MOST];
  task tasks[MOST];
  int *calls = pool;
  if (++*calls == 2 || count > MOST) return 1; /* the second call is refused */
  for (int64_t i = 1; i < count; i++) {
    tasks[i] = (task){run, argument, i};
    must(pthread_create(&threads[i], NULL, run_task, &tasks[i]) == 0, "pthread_create");
  }
  run(argument, 0);
  for (int64_t i = 1; i < count; i++) must(pthread_join(threads[i], NULL) == 0, "pthread_join");
  return 0;
}

static void use_own_threads_and_memory(smalti_model *model) {
  smalti_error error;
  smalti_engine *engine = NULL;
  static _Alignas(64) char memory[1024];
  int calls = 0;
  smalti_engine_options options = SMALTI_ENGINE_OPTIONS_INIT;
  options.threads = 3;
  options.parallel_for = parallel_for;
  options.pool = &calls;
  options.workspace = memory;
  options.workspace_bytes = sizeof(memory);
  check(smalti_engine_create(model, &options, &engine, &error), &error, "create");
  check(run_once(engine, 100, 1, &error), &error, "own threads");
  must(run_once(engine, 100, 1, &error) == SMALTI_RESOURCE, "a refused run must say so");
  must(run_once(engine, SIZE, 1, &error) == SMALTI_RESOURCE, "a small workspace must be refused");
  check(run_once(engine, 200, 1, &error), &error, "after refusals");
  smalti_engine_destroy(engine);
  options.workspace = memory + 8;
  must(smalti_engine_create(model, &options, &engine, &error) == SMALTI_USAGE, "alignment");
}

#ifndef __SANITIZE_THREAD__ /* it does not follow the threads of a child */
static void use_a_child(smalti_model *model) {
  smalti_error error;
  smalti_engine *engine = NULL;
  smalti_engine_options options = SMALTI_ENGINE_OPTIONS_INIT;
  options.threads = 3;
  check(smalti_engine_create(model, &options, &engine, &error), &error, "create");
  check(run_once(engine, 500, 1, &error), &error, "before the fork");
  pid_t child = fork();
  must(child >= 0, "fork");
  if (child == 0) {
    check(run_once(engine, 500, 2, &error), &error, "in the child");
    smalti_engine_destroy(engine);
    _exit(0);
  }
  int status = -1;
  check(run_once(engine, 500, 3, &error), &error, "beside the child");
  must(waitpid(child, &status, 0) == child && status == 0, "the child failed");
  smalti_engine_destroy(engine);
}
#endif

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  long threads = strtol(argv[2], NULL, 10), calls = strtol(argv[3], NULL, 10);
  must(threads >= 1 && threads <= MOST && calls >= 1, "1 to 64 threads");
  smalti_error error;
  smalti_model *model = NULL;
  smalti_engine *shared = NULL;
  check(smalti_model_open(argv[1], NULL, &model, &error), &error, "open");
#ifndef __SANITIZE_THREAD__
  use_a_child(model);
#endif
  use_own_threads_and_memory(model);
  check(smalti_engine_create(model, NULL, &shared, &error), &error, "create");
  pthread_t all[MOST];
  caller callers[MOST];
  for (long i = 0; i < threads; i++) {
    callers[i] = (caller){model, shared, i, calls};
    must(pthread_create(&all[i], NULL, call_often, &callers[i]) == 0, "pthread_create");
  }
  for (long i = 0; i < threads; i++) must(pthread_join(all[i], NULL) == 0, "pthread_join");
  smalti_model_close(model);
  check(run_once(shared, 3, 1, &error), &error, "the engine keeps the model");
  smalti_engine_destroy(shared);
  puts("done");
  return 0;
}
