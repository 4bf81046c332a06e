#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstring>

#include "lenet/image_io.h"
#include "support.h"

namespace lenet::tests {
namespace {

std::string idx(const std::vector<std::uint32_t>& dimensions, std::string_view values,
                char type = '\x08') {
  std::string bytes = {'\0', '\0', type, static_cast<char>(dimensions.size())};
  for (const auto dimension : dimensions) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(dimension >> shift);
  }
  return bytes + std::string(values);
}

const std::string kPixels("\x00\x01\x80\xff\x33\x66", 6);
const std::vector<float> kScaled = {0.0F / 255, 1.0F / 255, 128.0F / 255, 1.0F, 0.2F, 102.0F / 255};

std::ptrdiff_t files_in(const TemporaryFolder& folder) {
  return std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator());
}

const FileReader<Tensor> kImages{read_images};
const FileReader<std::vector<std::int64_t>> kLabels{read_labels};

}  // namespace

TEST_CASE("8-bit pixels are scaled, whatever kind of file they come in") {
  for (const auto& contents :
       {npy("|u1", "2, 3", kPixels), npy("|u1", "2, 3", kPixels, 2), npy("|u1", "2, 3", kPixels, 3),
        idx({2, 3}, kPixels), "P5\n3 2\n255\n" + kPixels,
        "P5 # a comment\n# and\n3\t2 # one\n 255 " + kPixels}) {
    const Tensor images = kImages(contents);
    CHECK(images.shape == Shape{1, 1, 2, 3});
    REQUIRE(images.data.size() == kScaled.size());
    for (std::size_t i = 0; i < kScaled.size(); ++i) {
      CHECK(images.data[i] == doctest::Approx(kScaled[i]).epsilon(1e-7));
    }
  }
}

TEST_CASE("two to four dimensions") {
  const std::vector<float> values = {-1.5F, 0.0F, 1e30F, 3.25F};  // taken as they are
  CHECK(kImages(npy("<f4", "2, 2", bytes_of(values))).data == values);
  CHECK(kImages(npy("|u1", "6, 1, 1", kPixels)).shape == Shape{6, 1, 1, 1});
  CHECK(kImages(npy("|u1", "1, 3, 2, 1", kPixels)).shape == Shape{1, 3, 2, 1});
  CHECK(kImages(idx({3, 2, 1}, kPixels)).shape == Shape{3, 1, 2, 1});
  CHECK(kImages(npy("<f4", "0, 28, 28", "")).shape == Shape{0, 1, 28, 28});
  kImages.refuses(npy("|u1", "6,", kPixels), "two, three or four dimensions");
  kImages.refuses(npy("|u1", "", "a"), "two, three or four dimensions");
  kImages.refuses(npy("|u1", "1, 1, 1, 2, 3", kPixels), "two, three or four dimensions");
  kImages.refuses(idx({6}, kPixels), "two, three or four dimensions");
}

TEST_CASE("a file cut short anywhere is refused") {
  for (const auto& whole : {npy("|u1", "2, 3", kPixels), npy("|u1", "2, 3", kPixels, 2),
                            idx({2, 3}, kPixels), "P5\n3 2\n255\n" + kPixels}) {
    kImages.refuses_beginnings(whole);
    kImages.refuses(whole + "x", "damaged");
  }
}

TEST_CASE("sizes that do not fit into memory are refused, not tried") {
  for (const char* shape :
       {"9223372036854775807, 1", "4294967296, 4294967296", "2305843009213693952, 1",
        "4611686018427387904, 4", "1152921504606846976, 16", "99999999999999999999, 1", "-1, 6"}) {
    for (const char* dtype : {"|u1", "<f4", "<i8"}) {
      kImages.refuses(npy(dtype, shape, kPixels), "");
      kImages.refuses(npy(dtype, shape, ""), "");
    }
  }
  kLabels.refuses(npy("<i8", "2305843009213693952,", ""), "");
  kImages.refuses(idx({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, kPixels), "");
  kImages.refuses("P5\n9223372036854775807 9223372036854775807\n255\n" + kPixels, "");
  kImages.refuses(npy("|u1", "6, 1", kPixels, 1).substr(0, 8) + "\xff\xff", "header");
}

TEST_CASE("what cannot be read says why") {
  kImages.refuses(npy("<f4", "2, 2", bytes_of<float>({1, 2, 3, 4}), 1, "True"), "Fortran order");
  kImages.refuses(npy("<f4", "2, 2", bytes_of<float>({1, 2, 3, 4}), 1, "Maybe"), "fortran_order");
  for (const char* dtype : {">f4", "<f8", "<f2", "|i1", "|b1", ">i4", "<c8", "|O", "<U3", ""}) {
    kImages.refuses(npy(dtype, "2, 2", bytes_of<float>({1, 2, 3, 4})), "element type");
  }
  kImages.refuses(npy_with("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 1), }",
                           bytes_of(1.0F)),
                  "element type");
  kImages.refuses(npy("<i4", "2, 2", bytes_of<float>({1, 2, 3, 4})), "images are uint8 or float32");
  kImages.refuses(npy("|u1", "2, 3", kPixels, 4), "version");
  kImages.refuses(npy("|u1", "2, x", kPixels), "shape");
  kImages.refuses(npy_with("{}", kPixels), "descr");
  kImages.refuses(idx({2, 3}, kPixels, '\x0d'), "unsigned bytes");
  kImages.refuses("P5\n3 2\n65535\n" + kPixels, "65535");
  kImages.refuses("P2\n3 2\n255\n0 1 2 3 4 5\n", "neither");
  kImages.refuses("\x1f\x8b\x08", "gunzip");
  kImages.refuses("", "empty");
  CHECK_ERROR(FileNotFound, "No such file", read_images("/nowhere/at/all"));
  CHECK_ERROR(FileNotFound, "folder", read_images("/"));
}

TEST_CASE("labels") {
  const std::vector<std::int64_t> expected = {7, 2, 255};
  CHECK(kLabels(idx({3}, "\x07\x02\xff")) == expected);
  CHECK(kLabels(npy("|u1", "3,", "\x07\x02\xff")) == expected);
  CHECK(kLabels(npy("<i4", "3,", bytes_of<std::int32_t>({7, 2, 255}))) == expected);
  CHECK(kLabels(npy("<i8", "3,", bytes_of(expected), 1, "True")) == expected);
  CHECK(kLabels(npy("<i8", "1,", bytes_of<std::int64_t>(-5))) == std::vector<std::int64_t>{-5});
  kLabels.refuses(npy("<f4", "1,", bytes_of(1.0F)), "labels are uint8, int32 or int64");
  kLabels.refuses(idx({3, 1}, "\x07\x02\xff"), "one dimension");
  CHECK_ERROR(FileNotFound, "nowhere", read_labels("/nowhere"));
}

TEST_CASE("what is written is read back, and is aligned as the format wants") {
  const TemporaryFolder folder;
  const Tensor images = random_images(3);
  const mode_t before = umask(027);
  write_npy(folder / "a.npy", images);
  umask(before);
  struct stat status = {};
  REQUIRE(stat((folder / "a.npy").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0640);
  CHECK((static_cast<std::size_t>(status.st_size) - images.data.size() * sizeof(float)) % 64 == 0);
  const Tensor back = read_images(folder / "a.npy");
  CHECK(back.shape == images.shape);
  CHECK(back.data == images.data);
  CHECK(files_in(folder) == 1);
  write_npy(folder / "empty.npy", {{}, {0, 1, 28, 28}});
  CHECK(read_images(folder / "empty.npy").shape == Shape{0, 1, 28, 28});
}

TEST_CASE("a write that fails leaves what was there, and nothing else") {
  const TemporaryFolder folder;
  const std::string path = write_file(folder / "a.npy", "before");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit small = before;
  small.rlim_cur = 1000;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  CHECK_ERROR(BackendFailure, "File too large", write_npy(path, random_images(1)));
  REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
  std::signal(SIGXFSZ, SIG_DFL);
  CHECK(read_file(path) == "before");
  CHECK(files_in(folder) == 1);
}

TEST_CASE("a device is written to, not replaced, and a link stays a link") {
  const TemporaryFolder folder;
  const Tensor images = random_images(1);
  // Through links of our own: a fault here must not replace the machine's devices.
  fs::create_symlink("/dev/null", folder / "null");
  write_npy(folder / "null", images);
  CHECK(fs::is_character_file(folder / "null"));
  fs::create_symlink("/dev/full", folder / "full");
  CHECK_ERROR(BackendFailure, "No space", write_npy(folder / "full", images));

  write_file(folder / "target", "before");
  fs::create_symlink("target", folder / "link");
  write_npy(folder / "link", images);
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(read_images(folder / "target").data == images.data);
  fs::create_symlink("not yet", folder / "dangling");
  write_npy(folder / "dangling", images);
  CHECK(read_images(folder / "dangling").data == images.data);
}

}  // namespace lenet::tests
