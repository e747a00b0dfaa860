#include "plugins.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string_view>

#include "fgdm/error.hpp"
#include "library.hpp"
#include "ort_handle.hpp"

namespace fgdm::ort {
namespace {

struct PluginName {
  Provider provider;
  std::string_view execution_provider;
  int hardware;
};

// As the plugins call themselves. OpenVINO's has devices for graphics and a "…AUTO" besides; what
// fgdm means by "openvino" is the processor.
constexpr std::array<PluginName, 4> names{
    {{Provider::openvino, "OpenVINOExecutionProvider", hardware_cpu},
     {Provider::cuda, "CudaPluginExecutionProvider", hardware_gpu},
     {Provider::tensorrt_rtx, "NvTensorRTRTXExecutionProvider", hardware_gpu},
     {Provider::webgpu, "WebGpuExecutionProvider", hardware_gpu}}};

const PluginName* name_of(Provider provider) {
  const auto found = std::ranges::find(names, provider, &PluginName::provider);
  return found == names.end() ? nullptr : &*found;
}

// Asking for an interface version that isn't there writes to stderr.
bool has_plugins(std::string_view version) {
  return minor_version(version) >= static_cast<int>(plugin_api_version);
}

std::string hexadecimal(std::uint32_t number) {
  std::array<char, 8> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, 16).ptr;
  return "0x" + std::string(digits.data(), end);
}

std::string_view kind_of(int hardware) {
  switch (hardware) {
  case hardware_cpu:
    return "CPU";
  case hardware_gpu:
    return "GPU";
  case hardware_npu:
    return "NPU";
  default:
    return "other";
  }
}

}  // namespace

Plugins::Plugins(const ApiBase& library, Env* environment,
                 std::span<const std::filesystem::path> libraries) {
  const std::string version = library.get_version_string();
  if (has_plugins(version)) {
    api_ = Table(library.get_api(plugin_api_version));
    environment_ = environment;
  }
  for (const auto& plugin : libraries) {
    if (environment_ == nullptr) {
      problems_.push_back(plugin.string() + " needs ONNX Runtime 1.23 or newer, and this is " +
                          version);
      continue;
    }
    try {
      add(plugin);
    } catch (const Error& error) {
      problems_.emplace_back(error.what());
    }
  }
}

void Plugins::add(const std::filesystem::path& library) {
  // Opened here first, and left open: the loader's own words say which library it lacks, and a
  // plugin's threads may outlive the environment.
  const std::array<std::string, 1> file{library.string()};
  open_library(file, library.string() + " can't be opened.");
  std::error_code unknown;
  const auto path = std::filesystem::weakly_canonical(library, unknown);
  const std::lock_guard lock(environment_mutex());
  static std::set<std::filesystem::path> without_devices;
  const auto before = all().size();
  Status* const status =
      api_.call<RegisterExecutionProviderLibrary>(environment_, path.c_str(), path.c_str());
  // Engines share the environment, and another one's registration serves this one.
  if (status != nullptr &&
      std::string_view(api_.call<GetErrorMessage>(status)).find("already registered") !=
          std::string_view::npos)
    api_.call<ReleaseStatus>(status);
  else
    check(api_, status, "registering " + library.string());
  if (status == nullptr && all().size() == before)
    without_devices.insert(path);
  if (without_devices.contains(path))
    throw BackendError(library.string() + " offers no device on this machine");
}

std::span<const EpDevice* const> Plugins::all() const {
  if (environment_ == nullptr)
    return {};
  const EpDevice* const* found = nullptr;
  std::size_t count = 0;
  check(api_, api_.call<GetEpDevices>(static_cast<const Env*>(environment_), &found, &count),
        "listing devices");
  return {found, count};
}

OrtDevice Plugins::describe(const EpDevice* device) const {
  const auto* metadata = api_.call<EpDeviceMetadata>(device);
  const auto entry = [&](const char* key) {
    const char* const value = metadata == nullptr ? nullptr : api_.call<GetKeyValue>(metadata, key);
    return std::string(value == nullptr ? "" : value);
  };
  const auto* hardware = api_.call<EpDeviceHardware>(device);
  return {api_.call<EpDeviceName>(device), api_.call<EpDeviceVendor>(device), entry("version"),
          std::string(kind_of(api_.call<HardwareDeviceType>(hardware))), entry("FULL_DEVICE_NAME")};
}

std::vector<OrtDevice> Plugins::devices() const {
  std::vector<OrtDevice> found;
  for (const auto* device : all())
    found.push_back(describe(device));
  return found;
}

std::vector<const EpDevice*> Plugins::of(Provider provider) const {
  std::vector<const EpDevice*> found;
  const auto* plugin = name_of(provider);
  for (const auto* device : all())
    if (plugin != nullptr && plugin->execution_provider == api_.call<EpDeviceName>(device) &&
        plugin->hardware == api_.call<HardwareDeviceType>(api_.call<EpDeviceHardware>(device)))
      found.push_back(device);
  return found;
}

bool Plugins::offers(Provider provider) const {
  return !of(provider).empty();
}

void Plugins::append(SessionOptions* options, Provider provider, int device,
                     const std::map<std::string, std::string>& provider_options) const {
  const auto devices = of(provider);
  if (device < 0 || static_cast<std::size_t>(device) >= devices.size())
    throw BackendError("device " + std::to_string(device) + " was asked for, and " +
                       std::string(name_of(provider)->execution_provider) + " offers " +
                       std::to_string(devices.size()));
  const KeysAndValues given(provider_options);
  const auto* chosen = devices[static_cast<std::size_t>(device)];
  check(api_,
        api_.call<AppendEpDevices>(options, environment_, &chosen, std::size_t{1},
                                   static_cast<const char* const*>(given.keys.data()),
                                   static_cast<const char* const*>(given.values.data()),
                                   given.keys.size()),
        "adding " + name(provider));
}

std::string Plugins::device(Provider provider, int device) const {
  const auto devices = of(provider);
  if (device < 0 || static_cast<std::size_t>(device) >= devices.size())
    return {};
  const auto* chosen = devices[static_cast<std::size_t>(device)];
  const auto* hardware = api_.call<EpDeviceHardware>(chosen);
  const auto described = describe(chosen);
  return described.kind + ' ' + hexadecimal(api_.call<HardwareDeviceVendorId>(hardware)) + ':' +
         hexadecimal(api_.call<HardwareDeviceId>(hardware)) + ' ' + described.name;
}

std::string Plugins::name(Provider provider) const {
  const auto devices = of(provider);
  if (devices.empty())
    return {};
  const auto device = describe(devices.front());
  return device.provider + (device.version.empty() ? "" : " " + device.version);
}

}  // namespace fgdm::ort
