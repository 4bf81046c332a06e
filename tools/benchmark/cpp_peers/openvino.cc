// OpenVINO's C++ interface, whose headers and libraries are in its Python package.

#include <algorithm>
#include <openvino/openvino.hpp>
#include <stdexcept>

#include "peer.h"

namespace {

class OpenVino final : public Peer {
 public:
  OpenVino(const std::string& path, int threads, const std::string& precision)
      : request_(core_
                     .compile_model(path, "CPU", ov::inference_num_threads(threads),
                                    ov::hint::inference_precision(
                                        precision == "bf16" ? ov::element::bf16 : ov::element::f32),
                                    ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY))
                     .create_infer_request()) {}

  void run(const float* images, const PeerShape& shape, float* outputs, std::size_t size) override {
    const ov::Shape sizes(std::begin(shape), std::end(shape));
    request_.set_input_tensor(ov::Tensor(ov::element::f32, sizes, const_cast<float*>(images)));
    request_.infer();
    const ov::Tensor output = request_.get_output_tensor();
    if (output.get_size() != size) throw std::runtime_error("the output has another size");
    std::copy_n(output.data<const float>(), size, outputs);
  }

 private:
  ov::Core core_;
  ov::InferRequest request_;
};

}  // namespace

std::unique_ptr<Peer> make_peer(const std::string& path, int threads,
                                const std::string& precision) {
  return std::make_unique<OpenVino>(path, threads, precision);
}
