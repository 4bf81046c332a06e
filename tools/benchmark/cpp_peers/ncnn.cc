// This peer calls ncnn's C++ interface, which takes one image at a time.

#include <ncnn/net.h>

#include <algorithm>
#include <stdexcept>

#include "peer.h"

namespace {

class Ncnn final : public Peer {
 public:
  Ncnn(const std::string& folder, int threads, const std::string& precision) {
    net_.opt.num_threads = threads;
    // Its default stores float16 where the processor converts it.
    net_.opt.use_fp16_packed = net_.opt.use_fp16_storage = net_.opt.use_fp16_arithmetic = false;
    net_.opt.use_bf16_storage = precision == "bf16";
    if (net_.load_param((folder + "/model.ncnn.param").c_str()) != 0 ||
        net_.load_model((folder + "/model.ncnn.bin").c_str()) != 0) {
      throw std::runtime_error("ncnn cannot load what pnnx wrote: it lacks an operator");
    }
  }

  void run(const float* images, const PeerShape& shape, float* outputs, std::size_t size) override {
    const auto count = static_cast<std::size_t>(shape[0]);
    const auto channels = static_cast<int>(shape[1]);
    const auto pixels = static_cast<std::size_t>(shape[2] * shape[3]);
    for (std::size_t i = 0; i < count; ++i) {
      ncnn::Mat input(static_cast<int>(shape[3]), static_cast<int>(shape[2]), channels);
      for (int c = 0; c < channels; ++c) {  // it may leave a gap behind each of them
        std::copy_n(images, pixels, static_cast<float*>(input.channel(c)));
        images += pixels;
      }
      ncnn::Extractor extractor = net_.create_extractor();
      extractor.input("in0", input);
      ncnn::Mat output;
      if (extractor.extract("out0", output) != 0) {
        throw std::runtime_error("ncnn cannot compute the network");
      }
      const int values = output.w * output.h * output.c;
      if (static_cast<std::size_t>(values) * count != size) {
        throw std::runtime_error("the output has another size");
      }
      const ncnn::Mat flat = output.reshape(values);  // without gaps between channels
      outputs = std::copy_n(static_cast<const float*>(flat), values, outputs);
    }
  }

 private:
  ncnn::Net net_;
};

}  // namespace

std::unique_ptr<Peer> make_peer(const std::string& path, int threads,
                                const std::string& precision) {
  return std::make_unique<Ncnn>(path, threads, precision);
}
