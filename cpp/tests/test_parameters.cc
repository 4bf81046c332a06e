#include "model/parameters.h"
#include "model/readers.h"
#include "support.h"

namespace lenet::tests {
namespace {

const std::vector<Shape> kLeNet = {{6},  {6, 1, 5, 5}, {10},  {16},      {16, 6, 5, 5},
                                   {84}, {84, 10},     {120}, {120, 84}, {400, 120}};

std::vector<Shape> sorted_shapes(const std::vector<ParameterSpec>& specs) {
  std::vector<Shape> shapes;
  for (const auto& spec : specs) shapes.push_back(spec.shape);
  std::sort(shapes.begin(), shapes.end());
  return shapes;
}

std::vector<ParameterSpec> records(std::string_view bytes) {
  return read_parameter_records(bytes, "p.pdiparams");
}

/// Of programs that are not read strictly.
std::vector<ParameterSpec> pdmodel_parameters(std::string_view bytes) {
  return list_parameters(read_program_desc(bytes, "m", true), "m");
}
std::vector<ParameterSpec> json_parameters(std::string_view bytes) {
  return list_parameters(read_pir_program(bytes, "m", true), "m");
}

void refuses(std::string_view bytes, std::string_view text) {
  CHECK_ERROR(BadModel, text, records(bytes));
  CHECK_ERROR(BadModel, "'p.pdiparams'", records(bytes));
}

}  // namespace

TEST_CASE("the three files of the bundled model agree with LeNet's definition") {
  const auto params = records(read_file(kModelDir + "/lenet.pdiparams"));
  const std::string pdmodel_bytes = read_file(kModelDir + "/lenet.pdmodel");
  const std::string json_bytes = read_file(kModelDir + "/lenet.json");
  const auto pdmodel = list_parameters(read_program_desc(pdmodel_bytes, "m"), "m");
  const auto json = list_parameters(read_pir_program(json_bytes, "m"), "m");
  for (const auto& specs :
       {params, pdmodel, json, pdmodel_parameters(pdmodel_bytes), json_parameters(json_bytes)}) {
    CHECK(sorted_shapes(specs) == kLeNet);
    for (const auto& spec : specs) CHECK(spec.dtype == 5);
  }
  require_parameters(pdmodel, params, "p", false);
  require_parameters(json, params, "p", false);
  for (const auto& specs : {pdmodel, json}) {
    for (std::size_t i = 0; i + 1 < specs.size(); ++i) CHECK(specs[i].name < specs[i + 1].name);
  }
}

TEST_CASE("records of a parameter file") {
  CHECK(records("").empty());
  const std::string one = parameter_record({2, 3}, std::string(24, 'v'));
  const auto specs = records(one + parameter_record({}, "vv", 4));
  REQUIRE(specs.size() == 2);
  CHECK(specs[0].shape == Shape{2, 3});
  CHECK(specs[0].dtype == 5);
  CHECK(specs[1].shape.empty());
  CHECK(specs[1].dtype == 4);
  CHECK(records(parameter_record({0, 7}, "")).at(0).shape == Shape{0, 7});
  const std::string packed = "\x08\x05\x12\x02\x02\x03";  // dimensions in one field
  CHECK(records(one.substr(0, 16) + bytes_of(static_cast<std::int32_t>(packed.size())) + packed +
                std::string(24, 'v'))
            .at(0)
            .shape == Shape{2, 3});
  const std::string level = bytes_of<std::uint64_t>(16) + std::string(16, 'l');  // is skipped
  const std::string with_levels =
      one.substr(0, 4) + bytes_of<std::uint64_t>(2) + level + level + one.substr(12);
  CHECK(records(with_levels).at(0).shape == Shape{2, 3});
}

TEST_CASE("a parameter file cut short anywhere is refused") {
  const std::string one = parameter_record({2, 3}, std::string(24, 'v'));
  const std::string whole = one + parameter_record({300}, std::string(1200, 'v'));
  for (std::size_t size = 1; size < whole.size(); ++size) {
    if (size == one.size()) continue;  // a whole record less: seen by require_parameters
    CAPTURE(size);
    refuses(std::string_view(whole).substr(0, size), "damaged");
  }
  refuses(whole + "x", "tensor 2");
}

TEST_CASE("lengths and dimensions beyond reason") {
  constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
  refuses(parameter_record({kMax}, ""), "fewer values");
  refuses(parameter_record({1LL << 32, 1LL << 32}, ""), "fewer values");
  refuses(parameter_record({1LL << 62, 4}, ""), "fewer values");
  refuses(parameter_record({2, -1}, std::string(8, 'v')), "negative dimension");
  refuses(parameter_record({2}, std::string(8, 'v'), 99), "element type");
  refuses(parameter_record({2}, std::string(8, 'v'), 7), "element type");

  const std::string good = parameter_record({2}, std::string(8, 'v'));
  const auto with = [&](std::size_t at, const std::string& bytes) {
    return std::string(good).replace(at, bytes.size(), bytes);
  };
  refuses(with(0, bytes_of<std::uint32_t>(1)), "format version");
  refuses(with(4, bytes_of(std::numeric_limits<std::uint64_t>::max())), "header");
  refuses(with(4, bytes_of<std::uint64_t>(1)), "");
  refuses(with(12, bytes_of<std::uint32_t>(1)), "tensor version");
  refuses(with(16, bytes_of<std::int32_t>(-1)), "negative length");
  refuses(with(16, bytes_of(std::numeric_limits<std::int32_t>::max())), "header");
}

TEST_CASE("a program cut short or changed is refused or reads the same, and never crashes") {
  const std::string whole = read_file(kModelDir + "/lenet.pdmodel");
  constexpr std::size_t kStep = kUnderAsan ? 5 : 1;
  for (std::size_t size = 0; size < whole.size(); size += kStep) {
    std::vector<ParameterSpec> specs;
    try {
      specs = pdmodel_parameters(std::string_view(whole).substr(0, size));
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::BadModel);
      continue;
    }
    // What follows the one block says nothing of parameters.
    CHECK(sorted_shapes(specs) == kLeNet);
    CHECK(size > whole.size() / 2);
  }
  for (std::size_t at = 0; at < whole.size(); at += kStep) {
    std::string changed = whole;
    changed[at] = static_cast<char>(~changed[at]);
    try {
      pdmodel_parameters(changed);
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::BadModel);
    }
  }
}

TEST_CASE("what is no program") {
  for (const std::string_view bytes :
       {std::string_view(""), std::string_view("{\"base_code\": 1}"),
        std::string_view("\0\0\0\0", 4),
        std::string_view("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        std::string_view("\x08")}) {
    CHECK_ERROR(BadModel, "'m'", pdmodel_parameters(bytes));
    CHECK_ERROR(BadModel, "'m'", json_parameters(bytes));
  }
  CHECK_ERROR(BadModel, "no operators", pdmodel_parameters("\x0a\x02\x08\x01"));
  const std::string json = read_file(kModelDir + "/lenet.json");
  for (std::size_t size = 0; size < json.size(); size += 101) {
    CHECK_ERROR(BadModel, "'m'", json_parameters(std::string_view(json).substr(0, size)));
  }
  for (const char* text : {"null", "[]", "{}", "{\"base_code\": {\"magic\": \"onnx\"}}",
                           "{\"base_code\": {\"magic\": \"pir\"}, \"program\": 3}"}) {
    CHECK_ERROR(BadModel, "'m'", json_parameters(text));
  }
  for (const std::string bad : {"1e300", "-1e300", "10.5", "true", "[]"}) {
    const std::string text = replaced(json, R"([10],"NCHW")", "[" + bad + R"(],"NCHW")");
    CHECK_ERROR(BadModel, "an integer", json_parameters(text));
  }
}

TEST_CASE("parameters that are not the program's") {
  const std::vector<ParameterSpec> needed = {{"b", 5, {6}}, {"w", 5, {6, 1, 5, 5}}};
  const auto refuse = [&](const std::vector<ParameterSpec>& found, const char* text) {
    CHECK_ERROR(BadModel, text, require_parameters(needed, found, "p", false));
  };
  require_parameters(needed, needed, "p", false);
  refuse({needed[0], {"w", 5, {6, 5, 5, 1}}}, "'w' of shape [6, 1, 5, 5]");
  refuse({{"b", 6, {6}}, needed[1]}, "'b'");
  refuse({needed[0]}, "holds 1 parameters, the program needs 2");
  refuse({needed[0], needed[1], needed[0]}, "holds 3");
}

TEST_CASE("parameters that are not finite, of every type, at every place and address") {
  // The least pattern of an infinity and that of a NaN; and the largest finite number, in bytes.
  struct Format {
    int dtype;
    std::vector<std::string> bad;
    std::string largest;
  };
  const auto of = [](auto bits) { return bytes_of(bits); };
  using Bits16 = std::uint16_t;
  const std::vector<Format> formats = {
      {4, {of(Bits16{0x7c00}), of(Bits16{0xfc01})}, of(Bits16{0xfbff})},
      {22, {of(Bits16{0xff80}), of(Bits16{0x7fff})}, of(Bits16{0x7f7f})},
      {5, {of(0x7f800000U), of(0xff800001U)}, of(0xff7fffffU)},
      {6, {of(0xfff0000000000000U), of(0x7ff0000000000001U)}, of(0x7fefffffffffffffU)},
  };
  for (const Format& format : formats) {
    CAPTURE(format.dtype);
    const std::vector<ParameterSpec> needed = {{"b", format.dtype, {0}}, {"w", format.dtype, {37}}};
    auto found = needed;
    std::string values = "x";  // so that the numbers are not aligned
    for (int i = 0; i < 37; ++i) values += format.largest;
    const auto check = [&] {
      found[1].data = std::string_view(values).substr(1);
      require_parameters(needed, found, "p", true);
    };
    check();
    for (const std::string& bad : format.bad) {
      for (std::size_t i = 0; i < 37; ++i) {
        const std::string good = values;
        values.replace(1 + i * bad.size(), bad.size(), bad);
        check_error(ErrorCode::BadModel, "'p' holds NaN or infinity in the parameter 'w'", check);
        values = good;
      }
    }
  }
  // -infinity in a mask, whose softmax makes 0 of it.
  struct Masked {
    int dtype;
    std::string good;
    std::vector<std::string> bad;
  };
  const std::vector<Masked> masks = {
      {4, of(Bits16{0xfc00}), {of(Bits16{0x7c00}), of(Bits16{0xfc01})}},
      {22, of(Bits16{0xff80}), {of(Bits16{0x7f80}), of(Bits16{0xff81})}},
      {5, of(0xff800000U), {of(0x7f800000U), of(0xff800001U)}},
      {6, of(0xfff0000000000000U), {of(0x7ff0000000000000U), of(0xfff0000000000001U)}},
  };
  for (const Masked& mask : masks) {
    CAPTURE(mask.dtype);
    ParameterSpec wanted{"w", mask.dtype, {2}};
    const auto check = [&](const std::string& values) {
      require_parameters({wanted}, {{"", mask.dtype, {2}, values}}, "p", true);
    };
    CHECK_ERROR(BadModel, "NaN or infinity", check(mask.good + mask.good));
    wanted.mask = true;
    check(mask.good + mask.good);
    for (const std::string& bad : mask.bad) {
      CHECK_ERROR(BadModel, "NaN or infinity", check(mask.good + bad));
    }
  }
  // Numbers of which no pattern is infinite.
  const std::string ones(8, '\xff');
  require_parameters({{"i", 3, {1}}}, {{"", 3, {1}, ones}}, "p", true);
  require_parameters({{"q", 21, {8}}}, {{"", 21, {8}, ones}}, "p", true);
}

}  // namespace lenet::tests
