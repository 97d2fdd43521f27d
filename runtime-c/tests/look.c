/* SPDX-License-Identifier: Apache-2.0 */
/* Opens every file that is named and says what the library says of it: for runs under a sanitizer. */
#include <smalti.h>
#include <stdio.h>
#include <stdlib.h>

static void from_memory(const char *path, smalti_status expected) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) return;
  static unsigned char data[1 << 16];
  size_t bytes = fread(data, 1, sizeof(data), file);
  fclose(file);
  unsigned char *copy = malloc(bytes > 0 ? bytes : 1); /* of exactly this size: reading behind it is found */
  if (copy == NULL) exit(7);
  for (size_t i = 0; i < bytes; i++) copy[i] = data[i];
  smalti_model *model = NULL;
  smalti_error error;
  smalti_status status = smalti_model_open_memory(copy, bytes, NULL, &model, &error);
  if (status != expected) printf("from memory: %s\n", smalti_status_name(status));
  smalti_model_close(model);
  free(copy);
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    smalti_error error = {SMALTI_OK, ""};
    smalti_model *model = NULL;
    smalti_engine *engine = NULL;
    smalti_status status = smalti_model_open(argv[i], NULL, &model, &error);
    printf("%s\n", smalti_status_name(status));
    from_memory(argv[i], status);
    if (status != SMALTI_OK) continue;
    smalti_shape input = {2, {1, 100}}, outputs[8];
    size_t count = smalti_model_output_count(model);
    if (smalti_engine_create(model, NULL, &engine, &error) == SMALTI_OK && count <= 8) {
      (void)smalti_engine_output_shapes(engine, &input, smalti_model_input_count(model), outputs, count, &error);
    }
    smalti_model_close(model);
    smalti_engine_destroy(engine);
  }
  return 0;
}
