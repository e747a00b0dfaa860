// A picture by fgdm's C API: picture BUNDLE PROMPT OUTPUT.ppm [libonnxruntime.so]
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fgdm/fgdm.h>

// The text as JSON's, in memory that the caller frees; NULL where there is none.
static char* quoted(const char* text) {
  char* const json = malloc(6 * strlen(text) + 3);
  char* end = json;
  if (json == NULL)
    return NULL;
  *end++ = '"';
  for (; *text != '\0'; ++text) {
    const unsigned char byte = (unsigned char)*text;
    if (byte < 0x20 || byte == '"' || byte == '\\')
      end += sprintf(end, "\\u%04x", byte);
    else
      *end++ = *text;
  }
  memcpy(end, "\"", 2);
  return json;
}

// `format`, which has one %s, with a text as JSON in its place; likewise.
static char* with_text(const char* format, const char* text) {
  char* const json = quoted(text);
  char* const whole = json == NULL ? NULL : malloc(strlen(format) + strlen(json) + 1);
  if (whole != NULL)
    sprintf(whole, format, json);
  free(json);
  return whole;
}

static int on_step(void* context, const fgdm_step* step) {
  (void)context;
  printf("%s %d/%d\n", step->factor, step->step + 1, step->num_steps);
  return 0;
}

static int write_ppm(const char* path, const fgdm_pixels* image) {
  const size_t size = (size_t)image->height * (size_t)image->width * 3;
  FILE* const file = fopen(path, "wb");
  int written = file != NULL && fprintf(file, "P6\n%d %d\n255\n", image->width, image->height) > 0;
  written = written && fwrite(image->data, 1, size, file) == size;
  if (file != NULL && fclose(file) != 0)
    written = 0;
  return written;
}

static int failed(const char* what) {
  fprintf(stderr, "%s: %s\n", what, fgdm_last_error());
  return 1;
}

// Makes the picture with an open engine.
static int paint(fgdm_engine* engine, const char* prompt, const char* output) {
  const fgdm_callbacks callbacks = {.on_step = on_step};
  char* const request = with_text("{\"prompt\": %s, \"candidates\": 2, \"condition_steps\": 4, "
                                  "\"num_inference_steps\": 4, \"seed\": 1}",
                                  prompt);
  fgdm_job* job = NULL;
  fgdm_pixels image;
  const char* json = NULL;
  int code = 0;
  if (request == NULL || fgdm_submit(engine, request, NULL, 0, &callbacks, &job) != FGDM_OK)
    code = failed("fgdm_submit");
  else if (fgdm_job_wait(job, -1.0) != FGDM_OK || fgdm_job_json(job, &json) != FGDM_OK ||
           fgdm_job_pixels(job, NULL, FGDM_CHOSEN, FGDM_IMAGE, &image) != FGDM_OK)
    code = failed("the request");
  else if (!write_ppm(output, &image)) {
    fprintf(stderr, "%s can't be written\n", output);
    code = 1;
  } else
    printf("%s\n", json);
  fgdm_job_free(job);
  free(request);
  return code;
}

int main(int argc, char** argv) {
  fgdm_engine* engine = NULL;
  char* options = NULL;
  int code = 1;
  if (argc < 4 || argc > 5) {
    fprintf(stderr, "usage: %s BUNDLE PROMPT OUTPUT.ppm [libonnxruntime.so]\n", argv[0]);
    return 2;
  }
  printf("fgdm %s\n", fgdm_version());
  options = with_text("{\"backend\": \"cpu\", \"library\": %s}", argc > 4 ? argv[4] : "");
  if (options == NULL || fgdm_engine_open(argv[1], options, &engine) != FGDM_OK)
    code = failed("fgdm_engine_open");
  else
    code = paint(engine, argv[2], argv[3]);
  fgdm_engine_close(engine);
  free(options);
  return code;
}
