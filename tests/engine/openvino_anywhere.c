/* OpenVINO's plugin for ONNX Runtime, on processors that it passes over: it offers none but
   Intel's, although the OpenVINO in it runs on others too
   (findings/openvino-plugin-passes-amd-over.sh). This library is that plugin, but its factory
   offers whatever processor there is, so that tests of what the plugin does run everywhere.

   cc -shared -fPIC -DORIGINAL='"/path/of/the/plugin.so"'. Slots are those of ONNX Runtime's
   interface 23. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef const void* const* Table;

typedef struct {
  Table (*get_api)(uint32_t version);
  const char* (*get_version)(void);
} ApiBase;

typedef struct Factory {
  uint32_t interface;
  const char* (*name)(const struct Factory*);
  const char* (*vendor)(const struct Factory*);
  void* (*offer)(struct Factory*, const void* const* hardware, size_t count, void** offered,
                 size_t most, size_t* number);
} Factory;

enum {
  create_pairs = 295,
  add_pair = 296,
  release_pairs = 300,
  hardware_type = 307,
  get_ep_api = 317,
  create_device = 0 /* of the table that get_ep_api gives */
};

static Table api;

static void* offer_processor(Factory* factory, const void* const* hardware, size_t count,
                             void** offered, size_t most, size_t* number) {
  *number = 0;
  if (strcmp(factory->name(factory), "OpenVINOExecutionProvider") != 0)
    return NULL; /* one that chooses among devices */
  for (size_t i = 0; i < count && *number < most; ++i) {
    void* pairs = NULL;
    void* status;
    if (((int (*)(const void*))api[hardware_type])(hardware[i]) != 0)
      continue;
    ((void (*)(void**))api[create_pairs])(&pairs);
    ((void (*)(void*, const char*, const char*))api[add_pair])(pairs, "ov_device", "CPU");
    ((void (*)(void*, const char*, const char*))api[add_pair])(pairs, "FULL_DEVICE_NAME",
                                                               "a processor");
    Table devices = ((Table (*)(void))api[get_ep_api])();
    status = ((void* (*)(Factory*, const void*, void*, void*, void**))devices[create_device])(
        factory, hardware[i], pairs, NULL, &offered[*number]);
    ((void (*)(void*))api[release_pairs])(pairs);
    if (status != NULL)
      return status;
    ++*number;
  }
  return NULL;
}

static void* original(const char* name) {
  static void* library;
  if (library == NULL)
    library = dlopen(ORIGINAL, RTLD_NOW | RTLD_LOCAL);
  return library == NULL ? NULL : dlsym(library, name);
}

void* CreateEpFactories(const char* name, const ApiBase* base, const void* logger,
                        Factory** factories, size_t most, size_t* count) {
  typedef void* (*Create)(const char*, const ApiBase*, const void*, Factory**, size_t, size_t*);
  const Create create = (Create)original("CreateEpFactories");
  void* status;
  *count = 0;
  if (create == NULL)
    return NULL;
  api = base->get_api(23);
  status = create(name, base, logger, factories, most, count);
  for (size_t i = 0; status == NULL && i < *count; ++i)
    factories[i]->offer = offer_processor;
  return status;
}

void* ReleaseEpFactory(Factory* factory) {
  typedef void* (*Release)(Factory*);
  const Release release = (Release)original("ReleaseEpFactory");
  return release == NULL ? NULL : release(factory);
}
