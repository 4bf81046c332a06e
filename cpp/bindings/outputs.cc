#include "description/outputs.h"

#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "description/description.h"
#include "description/output_plan.h"

namespace py = pybind11;

namespace lenet::bindings {
namespace {

OutputRole parse_role(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(OutputRole::MultiHot); ++i) {
    const auto role = static_cast<OutputRole>(i);
    if (name == to_string(role)) return role;
  }
  throw py::value_error("no role of an output: " + name);
}

/// \param outputs float32 arrays of a batch, as a plan wants them
std::vector<TensorView> views_of(const std::vector<Array<float>>& outputs) {
  std::vector<TensorView> views;
  for (const Array<float>& output : outputs) views.push_back({output.data(), shape_of(output)});
  return views;
}

std::int64_t images_of(const std::vector<TensorView>& outputs) {
  return outputs.empty() || outputs[0].shape.empty() ? 0 : outputs[0].shape[0];
}

/// \param labels_given the labels are those of the user, who is told when they are too many
/// \returns for each image its classes, (number, label, value, score, head), its attributes and
///   flags, and its features where there are no classes
py::list interpret_rows(const OutputPlan& plan, const std::vector<Array<float>>& outputs,
                        const std::string& postprocess, std::vector<std::string> labels,
                        const std::string& labels_source, bool labels_given,
                        const std::string& output_name, std::optional<std::int64_t> topk,
                        std::optional<double> threshold) {
  Described described;
  if (!postprocess.empty()) described.description.outputs = parse_result_rule(postprocess);
  described.description.labels = std::move(labels);
  described.labels_source = labels_source;
  described.labels_given = labels_given;
  Config config;
  config.output_name = output_name;
  const std::vector<TensorView> views = views_of(outputs);
  py::list images;
  for (std::int64_t image = 0; image < images_of(views); ++image) {
    const Finding found = interpret(plan, views, image, described, config, {topk, threshold});
    py::list predictions;
    for (const Prediction& one : found.predictions) {
      const py::object head = one.head.empty() ? py::object(py::none()) : py::cast(one.head);
      predictions.append(py::make_tuple(one.class_id, one.label, one.value, one.score, head));
    }
    images.append(py::make_tuple(predictions, found.attributes, found.flags, found.features));
  }
  return images;
}

/// \returns the number of each image that has no class, and what is wrong with its outputs
std::vector<std::pair<std::int64_t, std::string>> find_problems(
    const OutputPlan& plan, const std::vector<Array<float>>& outputs,
    const std::string& postprocess) {
  ResultRule rule;
  if (!postprocess.empty()) rule = parse_result_rule(postprocess);
  const std::vector<TensorView> views = views_of(outputs);
  std::vector<std::pair<std::int64_t, std::string>> found;
  for (std::int64_t image = 0; image < images_of(views); ++image) {
    std::string problem = problem_of(plan, rule, views, image);
    if (!problem.empty()) found.emplace_back(image, std::move(problem));
  }
  return found;
}

/// An output as Python describes it.
struct KnownOutput {
  TensorSpec spec;
  OutputMeaning meaning;
};

KnownOutput make_known(std::string name, std::vector<std::int64_t> shape, std::string dtype,
                       const std::string& role, bool picked, bool ranked,
                       std::optional<std::size_t> partner, std::int64_t num_classes, int class_axis,
                       std::size_t source, std::size_t family) {
  return {{std::move(name), std::move(shape), std::move(dtype)},
          {parse_role(role), picked, ranked, partner.value_or(kNoOutput), num_classes, class_axis,
           source, family}};
}

}  // namespace

void register_outputs(py::module_& module) {
  py::class_<KnownOutput>(module, "KnownOutput").def(py::init(&make_known));
  py::class_<OutputPlan>(module, "OutputPlan")
      .def_readonly("wanted", &OutputPlan::wanted)
      .def_readonly("note", &OutputPlan::note)
      .def_readonly("num_classes", &OutputPlan::num_classes)
      .def_readonly("gives_several", &OutputPlan::gives_several)
      .def_property_readonly("is_plain", &OutputPlan::is_plain)
      .def_property_readonly("role", [](const OutputPlan& plan) { return to_string(plan.role()); })
      .def_property_readonly("heads", [](const OutputPlan& plan) { return plan.heads.size(); })
      .def_property_readonly("features",
                             [](const OutputPlan& plan) {
                               return plan.features == kNoOutput ? py::object(py::none())
                                                                 : py::cast(plan.features);
                             })
      .def("gives_classes",
           [](const OutputPlan& plan, const std::string& postprocess) {
             return gives_classes(
                 plan, postprocess.empty() ? ResultRule() : parse_result_rule(postprocess));
           })
      .def("value_name", [](const OutputPlan& plan, const std::string& postprocess) {
        return value_name(plan,
                          postprocess.empty() ? ResultRule() : parse_result_rule(postprocess));
      });
  module.def(
      "plan_outputs",
      [](const std::string& model, const std::vector<KnownOutput>& outputs, std::size_t labels,
         std::optional<bool> softmax, std::optional<bool> manifest_softmax) {
        std::vector<TensorSpec> specs;
        std::vector<OutputMeaning> meanings;
        for (const KnownOutput& output : outputs) {
          specs.push_back(output.spec);
          meanings.push_back(output.meaning);
        }
        return plan_outputs(model, specs, meanings, {labels, softmax, manifest_softmax});
      },
      py::arg("model"), py::arg("outputs"), py::arg("labels"), py::arg("softmax"),
      py::arg("manifest_softmax"));
  module.def("interpret", &interpret_rows, py::arg("plan"), py::arg("outputs"),
             py::arg("postprocess"), py::arg("labels"), py::arg("labels_source"),
             py::arg("labels_given"), py::arg("output_name"), py::arg("topk"),
             py::arg("threshold"));
  module.def("find_problems", &find_problems, py::arg("plan"), py::arg("outputs"),
             py::arg("postprocess"));
  module.def("no_class",
             [](const std::string& image, const std::string& problem, const std::string& origin) {
               return std::string(no_class(image, problem, origin).what());
             });
}

}  // namespace lenet::bindings
