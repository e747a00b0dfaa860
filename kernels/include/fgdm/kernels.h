#ifndef FGDM_KERNELS_H
#define FGDM_KERNELS_H

/* fgdm's CUDA kernels, for any language that can call C. No CUDA header is needed.
 *
 * Every launcher works on the current device and the given stream, allocates nothing, waits for
 * nothing and can be captured into a CUDA graph. All arrays are dense, row-major, in device memory
 * and aligned to 16 bytes. The returned int is a cudaError_t: 0 is success, 1
 * (cudaErrorInvalidValue) an unsupported shape, null or misaligned pointer, 801
 * (cudaErrorNotSupported) bfloat16 on a device before compute capability 8.0. Errors of the kernel
 * itself appear when the stream is waited for, as with any launch. */

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { FGDM_FLOAT32 = 0, FGDM_FLOAT16 = 1, FGDM_BFLOAT16 = 2 } fgdm_dtype;

typedef struct CUstream_st* fgdm_stream; /* a cudaStream_t */

/* ---- Attention whose strongest token per patch is weighted ("Segmentation-Free Guidance for
 * Text-to-Image Diffusion Models", section 4, equations 9 and 10) ---- */

/* What the strongest token is chosen by: the mean of the probabilities over all heads, so that a
 * patch has one token per layer as in the paper, or every head's own. */
typedef enum { FGDM_ARGMAX_MEAN = 0, FGDM_ARGMAX_PER_HEAD = 1 } fgdm_argmax;

/* head_size is 32, 40, 64, 80 or 160; heads 1 to 16; tokens 1 to 128; patches any. float32 is there
 * for tests: it doesn't use tensor cores. */
typedef struct {
  int batch, heads, patches, tokens, head_size;
  fgdm_dtype dtype; /* of q, k, v and out */
  fgdm_argmax argmax;
} fgdm_attention_shape;

/* NULL if the shape is supported, else a message that says what is and what was expected, valid
 * until this thread's next call. Needs no device. */
const char* fgdm_segfree_attention_check(const fgdm_attention_shape* shape);

/* out = w v, where w is softmax(q k' / sqrt(head_size)) with the weight of each patch's strongest
 * token multiplied by attn_scale. Weights are not renormalised. Of equally strong tokens the first
 * wins. Softmax and all sums are float32.
 *   q            (batch, heads, patches, head_size)
 *   k, v         (batch, heads, tokens, head_size)
 *   attn_scale   (batch) float32; 1 is plain attention, and costs no more
 *   argmax_mask  (batch, tokens) one byte each; only tokens with a byte other than 0 can be the
 *                strongest; a batch row that has none is left plain
 *   out          as q; not the same memory as any input */
int fgdm_segfree_attention(const fgdm_attention_shape* shape, const void* q, const void* k,
                           const void* v, const float* attn_scale, const unsigned char* argmax_mask,
                           void* out, fgdm_stream stream);

/* ---- One sampler step of many rows, each with its own guidance and coefficients ---- */

/* How one row advances. With e = epsilon[positive] if negative is -1, else
 * epsilon[negative] + guidance_scale * (epsilon[positive] - epsilon[negative]):
 *   x0     = x0_from_sample * sample + x0_from_epsilon * e
 *   sample = sample * sample_in + epsilon * e + x0 * x0 + history * (x0 of the step before)
 * These are fgdm::StepCoefficients of the core (fgdm/sampler.hpp). */
typedef struct {
  int positive;         /* row of epsilon */
  int negative;         /* row of epsilon, or -1: unguided */
  float guidance_scale; /* 1 + w of the papers */
  float x0_from_sample, x0_from_epsilon;
  float sample, epsilon, x0, history;
  int input[2];      /* rows of the next backbone batch that take this sample, each -1 for none */
  float input_scale; /* the next backbone input is input_scale * sample */
} fgdm_step_row;

typedef struct {
  int rows;
  int elements;             /* of one row: channels * height * width */
  fgdm_dtype epsilon_dtype; /* what the backbone wrote */
  fgdm_dtype input_dtype;   /* what the backbone reads */
} fgdm_step_shape;

/* NULL if the shape is supported, else a message; as fgdm_segfree_attention_check. */
const char* fgdm_guided_step_check(const fgdm_step_shape* shape);

/* Row indices of `steps` are not checked.
 *   steps       (rows) fgdm_step_row, in device memory
 *   epsilon     (number of backbone rows, elements) in epsilon_dtype
 *   sample      (rows, elements) in: the latents at this step; out: at the next
 *   x0          (rows, elements) in: predicted clean latents of the step before, read only where
 *               `history` is not 0; out: of this step
 *   next_input  (number of next backbone rows, elements) in input_dtype; NULL if not wanted; not
 *               the same memory as epsilon
 *   nonfinite   (rows) set to 1 where the new sample holds an infinity or NaN; otherwise left as it
 *               is, so that the host can clear it once and look at it when it likes */
int fgdm_guided_step(const fgdm_step_shape* shape, const fgdm_step_row* steps, const void* epsilon,
                     float* sample, float* x0, void* next_input, int* nonfinite,
                     fgdm_stream stream);

/* ---- What several conditioning networks add to the same features ---- */

/* total += term, element by element, rounded to their type; two arrays of `elements` numbers. */
int fgdm_accumulate(fgdm_dtype dtype, long long elements, void* total, const void* term,
                    fgdm_stream stream);

/* ---- Decoded images to label maps, areas and recall ---- */

typedef enum {
  FGDM_DECODE_NEAREST = 0, /* fgdm::decode_labels: least L infinity, then L1, then index */
  FGDM_DECODE_BOX = 1      /* fgdm::decode_labels_box: the last colour within tolerance */
} fgdm_decode_rule;

typedef struct {
  int maps, height, width;
  int classes;      /* 1 to 255 */
  int tolerance;    /* 0 to 255 levels per channel */
  double min_area;  /* fraction of the map from which a class counts as found, 0 to 1 */
  fgdm_dtype dtype; /* of the images: float32 or float16 */
  fgdm_decode_rule rule;
} fgdm_labels_shape;

/* Recall is found / requested, or 1 if nothing was requested. */
typedef struct {
  int requested;     /* classes that were asked for */
  int found;         /* those with at least one pixel and min_area of the map */
  int smallest_area; /* pixels of the smallest found class; 0 if none was found */
  int blocks;        /* scratch */
} fgdm_map_recall;

/* NULL if the shape is supported, else a message; as fgdm_segfree_attention_check. */
const char* fgdm_decode_labels_check(const fgdm_labels_shape* shape);

/* Rounds images to 8 bits as fgdm::image_to_rgb does and labels every pixel by the palette.
 *   images     (maps, 3, height, width) in [-1, 1]; values outside are clamped, NaN is black
 *   palette    (classes, 3) bytes
 *   requested  (maps, classes) one byte each, not 0 where a map's request asks for the class
 *   labels     (maps, height, width) bytes: a class, or 255 for a colour that is none's
 *   areas      (maps, classes) int32: pixels of each class
 *   recall     (maps) */
int fgdm_decode_labels(const fgdm_labels_shape* shape, const void* images,
                       const unsigned char* palette, const unsigned char* requested,
                       unsigned char* labels, int* areas, fgdm_map_recall* recall,
                       fgdm_stream stream);

/* ---- Pictures: bytes to numbers, decoded numbers to bytes. Sides are 1 to 32768 pixels; arrays of
 * bytes may begin anywhere. ---- */

/* Spreads a picture over three planes of numbers, from 0 to 1 as control images, or where `centred`
 * isn't 0 from -1 to 1 as the autoencoder takes them.
 *   rgb     (height, width, 3) bytes
 *   planes  (3, height, width) float32 */
int fgdm_picture_to_planes(int height, int width, int centred, const unsigned char* rgb,
                           float* planes, fgdm_stream stream);

/* Rounds a decoded picture to 8 bits as fgdm::image_to_rgb does.
 *   planes     (3, height, width) float32 in [-1, 1]; values outside are clamped, NaN is black
 *   original   (height, width, 3) bytes
 *   anew       (height, width) bytes: where it is 0, the pixel is the original's
 *              (both NULL: nowhere)
 *   rgb        (height, width, 3) bytes; not the same memory as any input
 *   nonfinite  set to 1 where `planes` holds an infinity or NaN; otherwise left as it is */
int fgdm_planes_to_picture(int height, int width, const float* planes,
                           const unsigned char* original, const unsigned char* anew,
                           unsigned char* rgb, int* nonfinite, fgdm_stream stream);

#ifdef __cplusplus
}
#endif

#endif /* FGDM_KERNELS_H */
