// fgdm in C, and for every language that can call C:
//
//   fgdm_engine* engine;
//   fgdm_job* job;
//   fgdm_pixels image;
//   if (fgdm_engine_open("bundles/scenes", "{\"backend\": \"cpu\"}", &engine) == FGDM_OK &&
//       fgdm_submit(engine, "{\"prompt\": \"two dogs\"}", NULL, 0, NULL, &job) == FGDM_OK &&
//       fgdm_job_wait(job, -1.0) == FGDM_OK &&
//       fgdm_job_pixels(job, NULL, FGDM_CHOSEN, FGDM_IMAGE, &image) == FGDM_OK)
//     ... image.data ...
//   else
//     fprintf(stderr, "%s\n", fgdm_last_error());
//
// All text is UTF-8 that ends with a zero byte. JSON's forms are those of fgdm/json.hpp: keys of a
// request are the keyword arguments of Python's Engine.submit, and a result is as
// engine/result.schema.json says. No C++ exception leaves a function. A handle that is NULL where
// one is expected is FGDM_REQUEST_ERROR; a handle after its free is undefined, as in all of C.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fgdm/api.h"

#ifdef __cplusplus
extern "C" {
#endif

// What a call came to. Numbers keep their meaning; later versions may add some.
typedef enum fgdm_status {
  FGDM_OK = 0,
  FGDM_NOT_DONE = 1,       // the job isn't finished yet
  FGDM_ERROR = 2,          // anything that has no number of its own
  FGDM_BUNDLE_ERROR = 3,   // the bundle is damaged or unknown
  FGDM_REQUEST_ERROR = 4,  // an argument is wrong
  FGDM_BACKEND_ERROR = 5,  // a runtime or device failed, or lacks what was asked of it
  FGDM_OUT_OF_MEMORY = 6,
  FGDM_CANCELLED = 7,
  FGDM_QUEUE_FULL = 8,  // the same call can succeed a little later
  FGDM_DEADLINE = 9
} fgdm_status;

typedef struct fgdm_engine fgdm_engine;  // a loaded bundle that serves requests
typedef struct fgdm_job fgdm_job;        // a submitted request, and its result

// The library's version, such as "0.1.0". Any thread, any time.
FGDM_API const char* fgdm_version(void);

// What went wrong in the last call that failed on the calling thread; "" before there was one.
// Valid until that thread's next call that fails, or its end. Any thread, any time.
FGDM_API const char* fgdm_last_error(void);

typedef enum fgdm_level { FGDM_INFO = 0, FGDM_WARNING = 1 } fgdm_level;

// Gives what engines have to tell, line by line, to a function with its context; NULL ends it, and
// is how it begins. Tells how an engine was opened, its notes, and of batches that are run again.
// Any thread; returns when no thread is in the function before. The function is called from any
// thread, one call at a time; it mustn't call fgdm, and no exception or longjmp may leave it.
FGDM_API void fgdm_set_logger(void (*logger)(void* context, fgdm_level level, const char* message),
                              void* context);

// Loads a bundle: a folder, or an archive that `fgdm pack` made, which is mapped and may be
// replaced by another meanwhile, but not changed or shortened. options: JSON such as {"backend":
// "cpu", "threads": 4, "library":
// "/path/libonnxruntime.so"}; NULL: defaults. On failure *engine is NULL.
// Any thread; several engines may be opened at the same time. Takes seconds. Not while the process
// forks.
FGDM_API fgdm_status fgdm_engine_open(const char* bundle, const char* options,
                                      fgdm_engine** engine);

// Loads an archive in memory: `size` bytes from a multiple of 16 on, which are used where they lie
// and have to stay as they are until release(context) is called. That is once, whatever this call
// comes to, when nothing needs them any more, on any thread; it mustn't call fgdm. release: NULL is
// for bytes that outlive the engine, which needs them until fgdm_engine_close has returned; from
// within a callback that returns too early, so give a release. Else as fgdm_engine_open.
FGDM_API fgdm_status fgdm_engine_open_memory(const void* archive, size_t size, const char* options,
                                             void (*release)(void* context), void* context,
                                             fgdm_engine** engine);

// Cancels what is queued or running, waits for it and frees the engine. NULL does nothing.
// Any thread, once, when no other thread is in a call with this engine. From within a callback of
// its own it doesn't wait: callbacks may still come until every job has answered on_done. Jobs stay
// valid. In a forked child it frees nothing.
FGDM_API void fgdm_engine_close(fgdm_engine* engine);

// {"version", "bundle", "backend", "precision", "attention", "runtime", "factors", "notes",
// "load_seconds"} in *json, which lives as long as the engine. Any thread.
FGDM_API fgdm_status fgdm_engine_info(const fgdm_engine* engine, const char** json);

// What the engine has done since it was opened, as JSON: requests accepted, finished, failed,
// queued and so on. *json is valid until the calling thread's next call of this function. Any
// thread.
FGDM_API fgdm_status fgdm_engine_metrics(const fgdm_engine* engine, const char** json);

// Pixels or numbers, row-major and dense, that somebody else owns.
typedef enum fgdm_type { FGDM_UINT8 = 0, FGDM_FLOAT32 = 1 } fgdm_type;
typedef struct fgdm_array {
  // What it is for: "image" or "mask", "control_images.NAME", "factors.NAME.map" (FGDM_UINT8);
  // "latents", "condition_latents", "factors.NAME.latents" (FGDM_FLOAT32).
  const char* name;
  fgdm_type type;
  int rank;          // 2 (height, width), 3 (height, width, 3) or 4 (rows, channels, height, width)
  int64_t shape[4];  // the first `rank` of them
  const void* data;
} fgdm_array;

// 8-bit pixels, row-major and dense: channels is 3 (RGB) or 1 (class indices, 255: unlabeled).
typedef struct fgdm_pixels {
  int height, width, channels;
  const uint8_t* data;  // height * width * channels bytes
} fgdm_pixels;

// A sampler step that just ended; valid during the call.
typedef struct fgdm_step {
  const char* factor;
  int step, num_steps;    // step: from 0
  double timestep;        // of training, that the step started from
  const int* candidates;  // which of them took this step
  size_t num_candidates;
  const float* predicted_x0;  // (num_candidates, channels, height, width)
  int channels, height, width;
} fgdm_step;

// The RGB picture of a candidate's predicted x0, by the bundle's preview decoder if it has one,
// else by its full decoder. step: as on_step has it, and only in there. candidate: one of those
// that took the step. *pixels is valid until on_step returns, or asks again.
FGDM_API fgdm_status fgdm_step_preview(const fgdm_step* step, int candidate, fgdm_pixels* pixels);

// A map of a job that is at work; valid during the call.
typedef struct fgdm_map {
  const char* factor;
  int candidate;  // its index
  int steps,
      num_steps;        // sampled, of the factor's; with fewer, the map is that of the predicted x0
  double recall;        // found / requested
  double compliance;    // of what the request requires, the share that it meets
  const char* refused;  // what it holds that must not be painted; "": nothing
  fgdm_pixels map;      // RGB
  fgdm_pixels labels;   // class indices; data: NULL of a factor that makes pictures
} fgdm_map;

// Functions that an engine calls for one job, with `context`; those that are NULL it doesn't. They
// run on the engine's thread, where all of its requests wait for them. In them fgdm_submit,
// fgdm_job_cancel, fgdm_job_wait with 0 seconds, fgdm_engine_metrics and fgdm_engine_close are
// fine; to wait longer for a job of the same engine is FGDM_REQUEST_ERROR. No exception or longjmp
// may leave them. Another thread's fgdm_job_wait may return before on_done is called: `context` has
// to live until on_done returns, or fgdm_engine_close has, which waits for it.
typedef struct fgdm_callbacks {
  void* context;
  // After every step; anything but 0 stops the job with FGDM_CANCELLED.
  int (*on_step)(void* context, const fgdm_step* step);
  // Once, when the job is done, whatever its end; no other function is called afterwards. On the
  // engine's thread, or on the caller's of fgdm_submit before that returns; *job is set by then.
  void (*on_done)(void* context);
  // Of every map that was just looked at, and of one that was given or chosen, with which the job
  // goes on (chosen: 1, else 0); anything but 0 stops the job with FGDM_CANCELLED.
  int (*on_map)(void* context, const fgdm_map* map, int chosen);
  // Chooses the map to paint, in place of the request's "select": its place among num_maps finished
  // ones, none of them pruned or refused. What is no place stops the job with FGDM_CANCELLED.
  int (*on_select)(void* context, const fgdm_map* maps, size_t num_maps);
} fgdm_callbacks;

// Checks a request and queues it. request: JSON such as {"prompt": "two dogs beside a house",
// "candidates": 4, "seed": 1}. arrays: num_arrays of them, which are copied. callbacks: NULL for
// none; copied. On failure *job is NULL and no callback is called. Any thread.
FGDM_API fgdm_status fgdm_submit(fgdm_engine* engine, const char* request, const fgdm_array* arrays,
                                 size_t num_arrays, const fgdm_callbacks* callbacks,
                                 fgdm_job** job);

// Waits until the job is done, at most so many seconds; 0 only looks, less than 0 waits as long as
// it takes. FGDM_NOT_DONE, or what the job came to: FGDM_OK, or its failure with fgdm_last_error.
// Any thread, as often as you like.
FGDM_API fgdm_status fgdm_job_wait(fgdm_job* job, double seconds);

// Asks the engine to stop the job, which takes effect at the next step. A job that is done stays as
// it is. Any thread.
FGDM_API fgdm_status fgdm_job_cancel(fgdm_job* job);

// The result without its pixels as JSON, which lives as long as the job. FGDM_NOT_DONE before it is
// there, or what the job failed with. Any thread.
FGDM_API fgdm_status fgdm_job_json(fgdm_job* job, const char** json);

typedef enum fgdm_kind {
  FGDM_IMAGE = 0,  // the painted image; factor: NULL, candidate: FGDM_CHOSEN
  FGDM_MAP = 1,    // a candidate's map, RGB
  FGDM_LABELS = 2  // its class indices; FGDM_REQUEST_ERROR for a factor that makes pictures
} fgdm_kind;
#define FGDM_CHOSEN (-1)

// Pixels of a result, which live as long as the job. factor: whose map it is; NULL: that of the
// result's own candidates. candidate: its place in the JSON's "candidates", or FGDM_CHOSEN.
// FGDM_NOT_DONE before it is there, or what the job failed with. Any thread.
FGDM_API fgdm_status fgdm_job_pixels(fgdm_job* job, const char* factor, int candidate,
                                     fgdm_kind kind, fgdm_pixels* pixels);

// Frees the job and all that was borrowed from it. NULL does nothing. A job that isn't done goes
// on: cancel it first if nobody wants it. Any thread, once, also after its engine was closed, and
// in its own on_done; not while another thread is in a call with this job.
FGDM_API void fgdm_job_free(fgdm_job* job);

#ifdef __cplusplus
}
#endif
