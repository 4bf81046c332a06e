#include "explanation.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "lenet/version.h"
#include "print.h"

namespace lenet::apps {
namespace {

using Row = std::array<std::string, 7>;

/// 416520 as 416,520.
std::string with_commas(double number) {
  std::string digits = print("%.0f", number);
  for (std::size_t end = digits.size(); end > 3; end -= 3) digits.insert(end - 3, ",");
  return digits;
}

/// Share of what the processor could have done in that time; of what multiplies nothing, none.
double share_of_limit(const Plan& plan, double multiply_adds, double microseconds) {
  return multiply_adds / plan.limit / (1e-6 * microseconds);
}

std::string percent(double share) { return print("%.1f %%", 100 * share); }

std::string dimensions(const Shape& shape) {
  std::string text;
  for (const auto size : shape) text += (text.empty() ? "" : "x") + std::to_string(size);
  return text;
}

Row row_of(const Plan& plan, const PlanPart& part, const PlanStep& step, double sum) {
  const double work = step.multiply_adds * static_cast<double>(part.at_once);
  return {step.name,
          step.kernel,
          dimensions(step.output),
          step.multiply_adds > 0 ? with_commas(step.multiply_adds) : "",
          print("%.2f", step.microseconds),
          percent(step.microseconds / sum),
          work > 0 ? percent(share_of_limit(plan, work, step.microseconds)) : ""};
}

double sum_of(const PlanPart& part, double PlanStep::*field) {
  double sum = 0;
  for (const PlanStep& step : part.steps) sum += step.*field;
  return sum;
}

/// Columns side by side; names to the left, numbers to the right.
std::string table(const std::vector<Row>& rows) {
  std::array<std::size_t, std::tuple_size_v<Row>> widths{};
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      line += (i == 0 ? "  " : "   ") + (i < 2 ? row[i] + space : space + row[i]);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string format_part(const Plan& plan, const PlanPart& part) {
  const double sum = sum_of(part, &PlanStep::microseconds);
  const auto images = static_cast<long long>(part.images);
  std::string text = print("\n%lld image%s%s", images, images == 1 ? "" : "s",
                           images == 1 ? " alone" : (", " + part.layout).c_str());
  if (part.at_once < part.images) {
    text += print(", %lld at a time", static_cast<long long>(part.at_once));
  }
  text += "\n";
  std::vector<Row> rows = {
      {"layer", "kernel", "output", "multiply-adds", "us", "of the time", "of the limit"}};
  for (const PlanStep& step : part.steps) rows.push_back(row_of(plan, part, step, sum));
  PlanStep all;
  all.name = "sum";
  all.multiply_adds = sum_of(part, &PlanStep::multiply_adds);
  all.microseconds = sum;
  rows.push_back(row_of(plan, part, all, sum));
  return text + table(rows);
}

std::string format_text(const std::string& program, const Plan& plan, const Config& config) {
  const auto images = static_cast<double>(plan.images);
  std::string text =
      print("%s %s: engine %s (%s), %s, threads %d\n", program.c_str(), version(),
            plan.engine.c_str(), plan.reason.c_str(), plan.instructions.c_str(), config.threads);
  text += "model   " + config.model_file + "\n";
  text += print("limit   %.1f billion multiply-adds a second, one core, %s\n", plan.limit / 1e9,
                config.precision.c_str());
  text +=
      print("batch   %lld, %.2f us, %.2f us an image, %.2f times the limit's (median of %d)\n",
            static_cast<long long>(plan.images), plan.microseconds, plan.microseconds / images,
            1 / share_of_limit(plan, plan.multiply_adds * images, plan.microseconds), plan.runs);
  for (const PlanPart& part : plan.parts) text += format_part(plan, part);
  return text + R"(
Multiply-adds are those of one image, by the definition: Winograd's method, which does with fewer,
may be over 100 %. Times are medians, with a look at the clock (some 0.03 us) after each line; layers
on one line are computed together, those of a batch over 64 are timed for 64.
)";
}

std::string format_json(const Plan& plan, const Config& config) {
  nlohmann::ordered_json root;
  root["version"] = version();
  root["engine"] = plan.engine;
  root["reason"] = plan.reason;
  root["instructions"] = plan.instructions;
  root["precision"] = config.precision;
  root["threads"] = config.threads;
  root["model_file"] = config.model_file;
  root["images"] = plan.images;
  root["runs"] = plan.runs;
  root["multiply_adds"] = plan.multiply_adds;
  root["microseconds"] = plan.microseconds;
  root["limit_per_second"] = plan.limit;
  for (const PlanPart& part : plan.parts) {
    nlohmann::ordered_json steps = nlohmann::ordered_json::array();
    for (const PlanStep& step : part.steps) {
      steps.push_back({{"name", step.name},
                       {"kernel", step.kernel},
                       {"output", step.output},
                       {"multiply_adds", step.multiply_adds},
                       {"microseconds", step.microseconds}});
    }
    root["parts"].push_back({{"layout", part.layout},
                             {"images", part.images},
                             {"at_once", part.at_once},
                             {"steps", steps}});
  }
  return root.dump() + "\n";
}

}  // namespace

std::string format_plan(const std::string& program, const Plan& plan, const Config& config,
                        Format format) {
  return format == Format::Json ? format_json(plan, config) : format_text(program, plan, config);
}

}  // namespace lenet::apps
