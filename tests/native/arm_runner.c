/* Runs compiled steps, many cases in one process, each between guard pages:  arm_runner CASES RESULTS
 *
 * CASES: the number of cases, then for each of them 64-bit words
 *     bytes of code, entry, bytes of constants, bytes of workspace, dims, arena buffers, inputs, outputs, counters,
 *     threads, side (1: buffers end at the guard page, 0: they begin behind it)
 * then dims, offsets of the arena buffers, sizes of inputs and outputs, and then code, constants and inputs, each
 * padded to 8 bytes.
 * RESULTS: for each case its status (0: done, 1: wrote beside a buffer, 2: the code reported an error) and its
 * outputs, each padded to 8 bytes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, POISON = 0xFF, HEAD = 11, MOST_THREADS = 16, MOST_BUFFERS = 32, SPINS = 2000 };

typedef int32_t (*entry_function)(uint64_t *ctx, int64_t thread, int64_t threads);

typedef struct {
    uint8_t *map, *data;
    size_t pages, size;
} buffer;

typedef struct {
    entry_function entry;
    uint64_t *ctx;
    int64_t thread, threads;
    int32_t status;
} job;

static volatile uint64_t current;

static void die(const char *what)
{
    fprintf(stderr, "case %llu: %s\n", (unsigned long long)current, what);
    exit(3);
}

static void on_signal(int number)
{
    char text[64];
    int length = snprintf(text, sizeof text, "case %llu: signal %d\n", (unsigned long long)current, number);
    if (write(2, text, (size_t)length) < 0)
        _exit(4);
    _exit(3);
}

static buffer make(size_t size, int right)
{
    buffer b = {.size = size, .pages = size ? (size + PAGE - 1) / PAGE : 1};
    b.map = mmap(NULL, (b.pages + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b.map == MAP_FAILED || mprotect(b.map + PAGE, b.pages * PAGE, PROT_READ | PROT_WRITE))
        die("no memory");
    memset(b.map + PAGE, POISON, b.pages * PAGE);
    b.data = b.map + PAGE + (right ? b.pages * PAGE - size : 0);
    return b;
}

static int intact(const buffer *b)
{
    const uint8_t *end = b->map + (b->pages + 1) * PAGE;
    for (const uint8_t *p = b->map + PAGE; p < end; p++)
        if ((p < b->data || p >= b->data + b->size) && *p != POISON)
            return 0;
    return 1;
}

static void *work(void *argument)
{
    job *own = argument;
    own->status = own->entry(own->ctx, own->thread, own->threads);
    return NULL;
}

static int32_t run(entry_function entry, uint64_t *ctx, int64_t threads)
{
    job jobs[MOST_THREADS];
    pthread_t workers[MOST_THREADS];
    int32_t status = 0;
    for (int64_t i = 0; i < threads; i++) {
        jobs[i] = (job){entry, ctx, i, threads, 1};
        if (i && pthread_create(&workers[i], NULL, work, &jobs[i]))
            die("no thread");
    }
    work(&jobs[0]);
    for (int64_t i = 0; i < threads; i++) {
        if (i)
            pthread_join(workers[i], NULL);
        status |= jobs[i].status;
    }
    return status;
}

static size_t padded(uint64_t size)
{
    return (size + 7) / 8 * 8;
}

static void put(FILE *file, const void *data, size_t size)
{
    static const uint8_t zeros[8];
    if (fwrite(data, 1, size, file) != size || fwrite(zeros, 1, padded(size) - size, file) != padded(size) - size)
        die("cannot write");
}

/* Runs the case at `at`, writes its results and returns the start of the next one. */
static const uint8_t *run_case(const uint8_t *at, FILE *results)
{
    const uint64_t *head = (const uint64_t *)at;
    uint64_t code_bytes = head[0], inputs = head[6], outputs = head[7], threads = head[9];
    int right = head[10] != 0;
    const uint64_t *dims = head + HEAD, *offsets = dims + head[4], *sizes = offsets + head[5];
    const uint8_t *payload = (const uint8_t *)(sizes + inputs + outputs);
    if (inputs + outputs > MOST_BUFFERS || threads > MOST_THREADS)
        die("too large");

    uint8_t *code = mmap(NULL, code_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED)
        die("no memory");
    memcpy(code, payload, code_bytes);
    __builtin___clear_cache((char *)code, (char *)code + code_bytes);
    if (mprotect(code, code_bytes, PROT_READ | PROT_EXEC))
        die("cannot make code executable");
    payload += padded(code_bytes);

    buffer all[MOST_BUFFERS + 3];
    size_t count = inputs + outputs;
    uint64_t io[MOST_BUFFERS];
    all[count] = make(head[2], 0);
    all[count + 1] = make(head[3], 0);
    all[count + 2] = make(4 * head[8], 0);
    memcpy(all[count].data, payload, head[2]);
    payload += padded(head[2]);
    for (size_t i = 0; i < count; i++) {
        all[i] = make(sizes[i], right);
        io[i] = (uint64_t)(uintptr_t)all[i].data;
        if (i < inputs) {
            memcpy(all[i].data, payload, sizes[i]);
            payload += padded(sizes[i]);
        }
    }
    memset(all[count + 2].data, 0, 4 * head[8]);
    uint64_t ctx[9] = {
        (uint64_t)(uintptr_t)all[count].data,     (uint64_t)(uintptr_t)all[count + 1].data,
        (uint64_t)(uintptr_t)dims,                (uint64_t)(uintptr_t)offsets,
        (uint64_t)(uintptr_t)io,                  (uint64_t)(uintptr_t)all[count + 2].data,
        (uint64_t)(uintptr_t)sched_yield,         0,
        SPINS,
    };
    uint64_t status = run((entry_function)(uintptr_t)(code + head[1]), ctx, (int64_t)threads) ? 2 : 0;
    for (size_t i = 0; i < count + 3; i++)
        if (!intact(&all[i]))
            status |= 1;
    put(results, &status, sizeof status);
    for (size_t i = inputs; i < count; i++)
        put(results, all[i].data, sizes[i]);
    for (size_t i = 0; i < count + 3; i++)
        munmap(all[i].map, (all[i].pages + 2) * PAGE);
    munmap(code, code_bytes);
    return payload;
}

int main(int argc, char **argv)
{
    struct stat about;
    int file = argc == 3 ? open(argv[1], O_RDONLY) : -1;
    FILE *results = argc == 3 ? fopen(argv[2], "wb") : NULL;
    if (file < 0 || !results || fstat(file, &about))
        die("usage: arm_runner CASES RESULTS");
    const uint8_t *all = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (all == MAP_FAILED)
        die("cannot map the cases");
    signal(SIGILL, on_signal);
    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    uint64_t cases = *(const uint64_t *)all;
    all += 8;
    for (current = 0; current < cases; current++)
        all = run_case(all, results);
    return fclose(results) ? 3 : 0;
}
