// This peer calls MNN's C++ interface.

#include <MNN/Interpreter.hpp>
#include <MNN/Tensor.hpp>
#include <algorithm>
#include <stdexcept>
#include <vector>

#include "peer.h"

namespace {

class Mnn final : public Peer {
 public:
  Mnn(const std::string& path, int threads)
      : net_(MNN::Interpreter::createFromFile(path.c_str()), MNN::Interpreter::destroy) {
    if (net_ == nullptr) throw std::runtime_error("MNN cannot load " + path);
    MNN::ScheduleConfig config;
    config.type = MNN_FORWARD_CPU;
    config.numThread = threads;
    session_ = net_->createSession(config);
    if (session_ == nullptr) throw std::runtime_error("MNN cannot compute the network");
  }

  void run(const float* images, const PeerShape& shape, float* outputs, std::size_t size) override {
    const std::vector<int> sizes(std::begin(shape), std::end(shape));
    MNN::Tensor* const input = net_->getSessionInput(session_, nullptr);
    if (input->shape() != sizes) {
      net_->resizeTensor(input, sizes);
      net_->resizeSession(session_);
    }
    const std::unique_ptr<MNN::Tensor> given(MNN::Tensor::create<float>(
        sizes, const_cast<float*>(images), MNN::Tensor::DimensionType::CAFFE));
    input->copyFromHostTensor(given.get());
    if (net_->runSession(session_) != MNN::NO_ERROR) {
      throw std::runtime_error("MNN cannot compute the network");
    }
    MNN::Tensor* const output = net_->getSessionOutput(session_, nullptr);
    MNN::Tensor found(output, MNN::Tensor::DimensionType::CAFFE);
    output->copyToHostTensor(&found);
    if (static_cast<std::size_t>(found.elementSize()) != size) {
      throw std::runtime_error("the output has another size");
    }
    std::copy_n(found.host<float>(), size, outputs);
  }

 private:
  std::unique_ptr<MNN::Interpreter, void (*)(MNN::Interpreter*)> net_;
  MNN::Session* session_;
};

}  // namespace

std::unique_ptr<Peer> make_peer(const std::string& path, int threads, const std::string&) {
  return std::make_unique<Mnn>(path, threads);
}
