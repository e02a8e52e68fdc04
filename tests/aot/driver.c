/* Runs an exported model on files: in_0.bin ... -> out_0.bin ..., once for each line of a batch.

   cc -DMODEL=net -DHEADER='"net.h"' [-DSTATE] [-DTHREADS=2] [-DPREPARE]
      [-DWEIGHTS='"net.weights"'] driver.c
   ./driver RUNS [ISA]     run number r reads in_I.r.bin if there is one, and else in_I.bin */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WEIGHTS
#define NET_MAP_WEIGHTS
#endif
#include HEADER

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define CALL(f) JOIN(MODEL, f)

static void stop(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(3);
}

static void *memory(size_t bytes) {
    void *p = malloc(bytes ? bytes : 1);
    if (p == NULL)
        stop("no memory");
    return p;
}

static void read_input(void *to, size_t number, int run, size_t bytes) {
    char name[64];
    FILE *file;
    snprintf(name, sizeof name, "in_%d.%d.bin", (int)number, run);
    file = fopen(name, "rb");
    if (file == NULL) {
        snprintf(name, sizeof name, "in_%d.bin", (int)number);
        file = fopen(name, "rb");
    }
    if (file == NULL || fread(to, 1, bytes, file) != bytes)
        stop(name);
    fclose(file);
}

static void write_output(const void *from, size_t number, int run, size_t bytes) {
    char name[64];
    FILE *file;
    snprintf(name, sizeof name, "out_%d.%d.bin", (int)number, run);
    file = fopen(name, "wb");
    if (file == NULL || fwrite(from, 1, bytes, file) != bytes || fclose(file) != 0)
        stop(name);
}

int main(int argc, char **argv) {
    int runs = argc > 1 ? atoi(argv[1]) : 1, code = 0, run;
    size_t n_in = 0, n_out = 0, i;
    void *workspace = memory(CALL(_workspace_bytes)());
    const void **inputs;
    void **outputs;
#ifdef STATE
    void *state = memory(CALL(_state_bytes)());
#endif
    while (CALL(_input)(n_in) != NULL)
        n_in++;
    while (CALL(_output)(n_out) != NULL)
        n_out++;
    inputs = (const void **)memory(n_in * sizeof *inputs);
    outputs = (void **)memory(n_out * sizeof *outputs);
    for (i = 0; i < n_in; i++)
        inputs[i] = memory(CALL(_input)(i)->bytes);
    for (i = 0; i < n_out; i++)
        outputs[i] = memory(CALL(_output)(i)->bytes);
    if (argc > 2 && CALL(_set_isa)(atoi(argv[2])) != 0)
        stop("isa");
#ifdef THREADS
    if (CALL(_threads_start)(workspace, THREADS) != 0)
        stop("threads");
#endif
#ifdef WEIGHTS
    if (CALL(_map_weights)(WEIGHTS) != 0)
        stop("weights");
#endif
#ifdef PREPARE
    void *prepared = memory(CALL(_prepared_bytes)());
    if (CALL(_prepare)(prepared) != 0)
        stop("prepare");
#endif
#ifdef STATE
    if (CALL(_init)(state) != 0)
        stop("init");
#endif
    for (run = 0; run < runs && code == 0; run++) {
        for (i = 0; i < n_in; i++)
            read_input((void *)(size_t)inputs[i], i, run, CALL(_input)(i)->bytes);
#ifdef STATE
        code = CALL(_run)(inputs, outputs, state, workspace);
#else
        code = CALL(_run)(inputs, outputs, workspace);
#endif
        for (i = 0; i < n_out && code == 0; i++)
            write_output(outputs[i], i, run, CALL(_output)(i)->bytes);
    }
#ifdef THREADS
    CALL(_threads_stop)(workspace);
#endif
#ifdef PREPARE
    free(prepared);
#endif
    printf("%s %d %s\n", CALL(_isa)(), code, CALL(_error_text)(code));
#ifdef STATE
    write_output(state, n_out, 0, CALL(_state_bytes)());
    free(state);
#endif
    for (i = 0; i < n_in; i++)
        free((void *)(size_t)inputs[i]);
    for (i = 0; i < n_out; i++)
        free(outputs[i]);
    free(inputs);
    free(outputs);
    free(workspace);
    return code;
}
