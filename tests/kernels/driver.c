/* Runs generated code on a job that tests/kernels/native.py wrote: every buffer is a heap block of its own. */
#include <pthread.h>
#include <fenv.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#endif
#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
#define CHECK(p, n) __msan_check_mem_is_initialized(p, n)
#endif
#endif
#ifndef POISON
#define POISON(p, n) (void)0
#define UNPOISON(p, n) (void)0
#endif
#ifndef CHECK
#define CHECK(p, n) (void)0
#endif

extern int32_t run(void *context, int64_t thread, int64_t threads);

extern int32_t drive(void *team);
extern int32_t serve(void *team, int64_t thread);

#define MOST 16
#ifndef ROUNDS
#define ROUNDS 0 /* 0: call run() itself, else drive() so often */
#endif

static int64_t threads;
static uint64_t context[9];

static void give(void) { sched_yield(); }

#if ROUNDS
static _Alignas(64) uint64_t team[32 + 8 * MOST];

static void *help(void *number) { return (void *)(intptr_t)serve(team, (int64_t)(intptr_t)number); }

/* Runs with 1 .. threads threads in turn, as the runtimes do. */
static intptr_t run_all(int32_t *counters, int64_t count) {
    pthread_t helpers[MOST];
    intptr_t status = 0;
    void *words[9] = {context, 0, sem_wait, sem_post, team + 32, sched_yield, fegetenv, fesetenv, 0};
    memcpy(team, words, sizeof words);
    for (int64_t i = 1; i < threads; i++) {
        if (sem_init((sem_t *)(team + 32 + 8 * i), 0, 0)) return 5;
        if (pthread_create(&helpers[i], NULL, help, (void *)(intptr_t)i)) return 5;
    }
    for (int round = 0; round < ROUNDS; round++) {
        memset(counters, 0, 4 * (size_t)count);
        team[1] = (uint64_t)(1 + round % threads);
        status |= drive(team);
    }
    atomic_store((_Atomic uint64_t *)(team + 8), 1);
    for (int64_t i = 1; i < threads; i++) {
        void *other;
        sem_post((sem_t *)(team + 32 + 8 * i));
        pthread_join(helpers[i], &other);
        status |= (intptr_t)other;
    }
    return status;
}
#else
static pthread_barrier_t start;

static void *work(void *number) {
    pthread_barrier_wait(&start);
    int32_t status = run(context, (int64_t)(intptr_t)number, threads);
    return (void *)(intptr_t)status;
}

static intptr_t run_all(int32_t *counters, int64_t count) {
    pthread_t helpers[MOST];
    (void)counters, (void)count;
    if (pthread_barrier_init(&start, NULL, (unsigned)threads)) return 5;
    for (int64_t i = 1; i < threads; i++)
        if (pthread_create(&helpers[i], NULL, work, (void *)(intptr_t)i)) return 5;
    intptr_t status = (intptr_t)work((void *)0);
    for (int64_t i = 1; i < threads; i++) {
        void *other;
        pthread_join(helpers[i], &other);
        status |= (intptr_t)other;
    }
    return status;
}
#endif

static void *block(int64_t size) {
    void *p = malloc(size ? (size_t)size : 1);
    if (!p) exit(3);
    return p;
}

static void get(void *to, int64_t size, FILE *from) {
    if (size && fread(to, (size_t)size, 1, from) != 1) exit(3);
}

static int64_t *numbers(int64_t count, FILE *from) {
    int64_t *all = block(8 * count);
    get(all, 8 * count, from);
    return all;
}

int main(int argc, char **argv) {
    FILE *job = argc == 3 ? fopen(argv[1], "rb") : NULL;
    if (!job) return 2;
    int64_t head[7];
    get(head, sizeof head, job);
    int64_t inputs = head[2], tensors = head[2] + head[3], pieces = head[4], section = head[5];
    threads = head[6];
    int64_t *dims = numbers(head[0], job), *arena = numbers(head[1], job), *sizes = numbers(tensors, job);
    int64_t *places = numbers(2 * pieces, job), *counts = numbers(1, job);
    uint64_t *offsets = block(8 * head[1]), *io = block(8 * tensors);
    char *constants = block(section);
    POISON(constants, section);
    for (int64_t i = 0; i < pieces; i++) {
        UNPOISON(constants + places[2 * i], places[2 * i + 1]);
        get(constants + places[2 * i], places[2 * i + 1], job);
    }
    for (int64_t i = 0; i < tensors; i++) {
        void *buffer = block(sizes[i]);
        if (i < inputs) get(buffer, sizes[i], job);
        io[i] = (uint64_t)(uintptr_t)buffer;
    }
    for (int64_t i = 0; i < head[1]; i++) offsets[i] = (uint64_t)(uintptr_t)block(arena[i]);
    fclose(job);
    int32_t *counters = calloc((size_t)counts[0], 4);
    uint64_t words[9] = {(uint64_t)(uintptr_t)constants, 0, (uint64_t)(uintptr_t)dims, (uint64_t)(uintptr_t)offsets,
                         (uint64_t)(uintptr_t)io, (uint64_t)(uintptr_t)counters, (uint64_t)(uintptr_t)give, 0, 100};
    memcpy(context, words, sizeof words);
    if (threads < 1 || threads > MOST) return 3;
    intptr_t status = run_all(counters, counts[0]);
    if (status) return 4;
    FILE *out = fopen(argv[2], "wb");
    if (!out) return 3;
    for (int64_t i = inputs; i < tensors; i++) {
        CHECK((void *)(uintptr_t)io[i], (size_t)sizes[i]);
        if (sizes[i] && fwrite((void *)(uintptr_t)io[i], (size_t)sizes[i], 1, out) != 1) return 3;
    }
    if (fclose(out)) return 3;
    for (int64_t i = 0; i < tensors; i++) free((void *)(uintptr_t)io[i]);
    for (int64_t i = 0; i < head[1]; i++) free((void *)(uintptr_t)offsets[i]);
    UNPOISON(constants, section);
    free(constants), free(counters), free(dims), free(arena), free(sizes), free(places), free(counts), free(offsets);
    free(io);
    return 0;
}
