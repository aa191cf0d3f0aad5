// Approach: a pull parser over a buffered reader. Every byte that is taken is appended to the thin
// stream; records of m0 are taken off its end again. So nothing can be forgotten, and what is
// dropped is visible in one place (Splitter::read_page_record).
#include "qemu/ram_stream.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>

namespace hozon {
namespace {

constexpr uint32_t kMagic = 0x5145564d;  // "QEVM"
constexpr uint32_t kStreamVersion = 3;
constexpr uint32_t kRamSectionVersion = 4;
constexpr size_t kBlocksMax = 256;
constexpr size_t kMachineTypeMax = 64;
constexpr size_t kCapabilitiesMax = 64;
constexpr size_t kReadBytes = 256 << 10;
constexpr unsigned kPagesPerSection = 4096;

enum SectionType : uint8_t {
  kEof = 0x00,
  kStart = 0x01,
  kPart = 0x02,
  kEnd = 0x03,
  kFull = 0x04,
  kSubsection = 0x05,
  kDescription = 0x06,
  kConfiguration = 0x07,
  kCommand = 0x08,
  kFooter = 0x7e,
};

constexpr uint64_t kFlagZero = 0x02;
constexpr uint64_t kFlagMemSize = 0x04;
constexpr uint64_t kFlagPage = 0x08;
constexpr uint64_t kFlagEos = 0x10;
constexpr uint64_t kFlagContinue = 0x20;
constexpr uint64_t kFlagMask = kPageBytes - 1;

class Splitter {
 public:
  Splitter(ByteSource& source, PageSink& sink, uint64_t ram_bytes)
      : source_(source), sink_(sink), ram_bytes_(ram_bytes), buffer_(kReadBytes) {}

  Result<ThinStream> run();

 private:
  Status read_configuration();
  Status read_configuration_subsection();
  Status read_ram_section(bool start, bool may_vanish, size_t section_begin);
  Status read_blocks(uint64_t total);
  Status read_page_record(uint64_t word);
  Status read_footer();
  Status read_device_state();
  Status check_description() const;

  // Fills the buffer when it is empty; false at the end of the stream.
  Result<bool> refill();
  Result<uint8_t> peek();
  // The next `size` bytes (at most kPageBytes), also appended to the thin stream.
  Result<std::span<const std::byte>> take(size_t size);
  Result<uint64_t> take_be(size_t size);
  Result<std::string> take_text(size_t size);
  Result<std::string> take_name();  // one byte of length, then the text

  template <typename... Args>
  std::unexpected<Error> broken(fmt::format_string<Args...> format, Args&&... args) const {
    return make_error(Code::kCorruption, "migration stream at byte {}: {}", position_,
                      fmt::format(format, std::forward<Args>(args)...));
  }

  ByteSource& source_;
  PageSink& sink_;
  const uint64_t ram_bytes_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  uint64_t position_ = 0;

  ThinStream thin_;
  std::map<std::string, uint64_t, std::less<>> blocks_;
  std::optional<uint32_t> ram_section_;
  std::string block_;         // of the last record
  std::string thin_block_;    // of the last record that stayed in the thin stream
  bool record_kept_ = false;  // in the current section
};

Result<bool> Splitter::refill() {
  if (begin_ < end_) return true;
  begin_ = 0;
  end_ = HOZON_TRY(source_.read_some(buffer_));
  return end_ > 0;
}

Result<uint8_t> Splitter::peek() {
  if (!HOZON_TRY(refill())) return broken("it ends early; QEMU broke off");
  return static_cast<uint8_t>(buffer_[begin_]);
}

Result<std::span<const std::byte>> Splitter::take(size_t size) {
  const size_t start = thin_.bytes.size();
  if (start + size > kThinBytesMax + kPageBytes)
    return make_error(Code::kResourceExhausted, "the device state is larger than {} bytes",
                      kThinBytesMax);
  size_t missing = size;
  while (missing > 0) {
    if (!HOZON_TRY(refill())) return broken("it ends early; QEMU broke off");
    const size_t part = std::min(missing, end_ - begin_);
    const std::byte* from = buffer_.data() + begin_;
    thin_.bytes.insert(thin_.bytes.end(), from, from + part);
    begin_ += part;
    position_ += part;
    missing -= part;
  }
  return std::span<const std::byte>(thin_.bytes).subspan(start);
}

Result<uint64_t> Splitter::take_be(size_t size) {
  uint64_t value = 0;
  for (const std::byte b : HOZON_TRY(take(size))) value = value << 8 | static_cast<uint8_t>(b);
  return value;
}

Result<std::string> Splitter::take_text(size_t size) {
  const auto bytes = HOZON_TRY(take(size));
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Result<std::string> Splitter::take_name() {
  const uint64_t length = HOZON_TRY(take_be(1));
  return take_text(length);
}

Result<ThinStream> Splitter::run() {
  if (!HOZON_TRY(refill())) return broken("it is empty; the save never began");
  if (HOZON_TRY(take_be(4)) != kMagic) return broken("this is no migration stream");
  const uint64_t version = HOZON_TRY(take_be(4));
  if (version != kStreamVersion) return broken("version {} is not known", version);
  for (;;) {
    const size_t section_begin = thin_.bytes.size();
    const uint64_t type = HOZON_TRY(take_be(1));
    Status status;
    switch (type) {
      case kConfiguration: status = read_configuration(); break;
      case kStart: status = read_ram_section(true, false, section_begin); break;
      case kPart: status = read_ram_section(false, true, section_begin); break;
      case kEnd: status = read_ram_section(false, false, section_begin); break;
      case kCommand: {
        HOZON_TRY(take_be(2));
        const uint64_t length = HOZON_TRY(take_be(2));
        if (length > kPageBytes) return broken("a command of {} bytes", length);
        HOZON_TRY(take(length));
        break;
      }
      case kFull: {
        if (!ram_section_) return broken("device state without RAM");
        if (Status rest = read_device_state(); !rest) return std::unexpected(rest.error());
        return std::move(thin_);
      }
      default: return broken("section type {:#04x} is not known", type);
    }
    if (!status) return std::unexpected(status.error());
  }
}

Status Splitter::read_configuration() {
  if (ram_section_ || !thin_.machine_type.empty()) return broken("a second configuration");
  const uint64_t length = HOZON_TRY(take_be(4));
  if (length == 0 || length > kMachineTypeMax) return broken("a machine name of {} bytes", length);
  thin_.machine_type = HOZON_TRY(take_text(length));
  while (HOZON_TRY(peek()) == kSubsection)
    if (Status status = read_configuration_subsection(); !status) return status;
  return {};
}

Status Splitter::read_configuration_subsection() {
  HOZON_TRY(take(1));
  const std::string name = HOZON_TRY(take_name());
  HOZON_TRY(take_be(4));
  if (name == "configuration/target-page-bits") {
    const uint64_t bits = HOZON_TRY(take_be(4));
    if (bits != 12) return broken("pages of 2^{} bytes", bits);
    return {};
  }
  if (name == "configuration/uuid") {
    HOZON_TRY(take(16));
    return {};
  }
  if (name != "configuration/capabilities") return broken("configuration part '{}'", name);
  const uint64_t count = HOZON_TRY(take_be(4));
  if (count > kCapabilitiesMax) return broken("{} capabilities", count);
  for (uint64_t i = 0; i < count; ++i) {
    const std::string capability = HOZON_TRY(take_name());
    if (capability == "x-ignore-shared" || capability == "mapped-ram")
      return broken("capability '{}' changes how RAM is sent; it must be off", capability);
  }
  return {};
}

Status Splitter::read_ram_section(bool start, bool may_vanish, size_t section_begin) {
  const auto section = static_cast<uint32_t>(HOZON_TRY(take_be(4)));
  if (start) {
    const std::string name = HOZON_TRY(take_name());
    HOZON_TRY(take_be(4));
    const uint64_t version = HOZON_TRY(take_be(4));
    if (name != "ram") return broken("live section '{}' is not known", name);
    if (version != kRamSectionVersion) return broken("RAM section version {}", version);
    if (ram_section_) return broken("a second RAM section");
    ram_section_ = section;
    thin_.ram_section = section;
  } else if (!ram_section_ || section != *ram_section_) {
    return broken("section {} did not start", section);
  }
  record_kept_ = false;
  for (;;) {
    const uint64_t word = HOZON_TRY(take_be(8));
    const uint64_t flags = word & kFlagMask;
    if (flags == kFlagEos) break;
    Status status;
    if (flags == kFlagMemSize && start)
      status = read_blocks(word & ~kFlagMask);
    else if ((flags & ~kFlagContinue) == kFlagPage || (flags & ~kFlagContinue) == kFlagZero)
      status = read_page_record(word);
    else
      return broken("RAM record with flags {:#x} is not known", flags);
    if (!status) return status;
  }
  if (Status footer = read_footer(); !footer) return footer;
  if (start) thin_.insert_offset = thin_.bytes.size();
  if (may_vanish && !record_kept_) thin_.bytes.resize(section_begin);
  return {};
}

Status Splitter::read_blocks(uint64_t total) {
  if (!blocks_.empty()) return broken("a second list of RAM blocks");
  uint64_t left = total;
  while (left > 0) {
    const std::string name = HOZON_TRY(take_name());
    const uint64_t length = HOZON_TRY(take_be(8));
    if (name.empty() || length == 0 || length % kPageBytes != 0 || length > left)
      return broken("RAM block '{}' of {} bytes", name, length);
    if (!blocks_.emplace(name, length).second || blocks_.size() > kBlocksMax)
      return broken("RAM block '{}' again, or more than {}", name, kBlocksMax);
    left -= length;
  }
  const auto main_block = blocks_.find(kRamBlock);
  if (main_block == blocks_.end()) return broken("there is no RAM block '{}'", kRamBlock);
  if (main_block->second != ram_bytes_)
    return broken("RAM is {} bytes, and {} were expected", main_block->second, ram_bytes_);
  return {};
}

Status Splitter::read_page_record(uint64_t word) {
  const size_t record_begin = thin_.bytes.size() - sizeof(word);
  const bool continued = (word & kFlagContinue) != 0;
  if (!continued) {
    block_ = HOZON_TRY(take_name());
  }
  const uint64_t offset = word & ~kFlagMask;
  const auto block = blocks_.find(block_);
  if (block == blocks_.end()) return broken("page of unknown RAM block '{}'", block_);
  if (offset >= block->second)
    return broken("page at {} is outside RAM block '{}'", offset, block_);

  const bool is_page = (word & kFlagPage) != 0;
  const auto content = HOZON_TRY(take(is_page ? kPageBytes : 1));
  if (block_ != kRamBlock) {
    if (continued && thin_block_ != block_) {  // its predecessor was dropped: name the block
      const uint64_t named = word & ~kFlagContinue;
      for (size_t i = 0; i < sizeof(named); ++i)
        thin_.bytes[record_begin + i] = static_cast<std::byte>(named >> (56 - 8 * i));
      const auto at = thin_.bytes.begin() + static_cast<ptrdiff_t>(record_begin + sizeof(named));
      std::vector<std::byte> name = {static_cast<std::byte>(block_.size())};
      for (const char c : block_) name.push_back(static_cast<std::byte>(c));
      thin_.bytes.insert(at, name.begin(), name.end());
    }
    thin_block_ = block_;
    record_kept_ = true;
    return {};
  }
  thin_block_.clear();
  Status stored;
  if (is_page) {
    stored = sink_.put_page(offset, content);
  } else if (content[0] == std::byte{0}) {
    stored = sink_.put_zero_page(offset);
  } else {
    const std::vector<std::byte> filled(kPageBytes, content[0]);
    stored = sink_.put_page(offset, filled);
  }
  thin_.bytes.resize(record_begin);
  return stored;
}

Status Splitter::read_footer() {
  const uint64_t mark = HOZON_TRY(take_be(1));
  const uint64_t section = HOZON_TRY(take_be(4));
  if (mark != kFooter || section != *ram_section_) return broken("no footer after a RAM section");
  return {};
}

Status Splitter::read_device_state() {
  while (HOZON_TRY(refill())) {
    const size_t part = std::min<size_t>(end_ - begin_, kPageBytes);
    HOZON_TRY(take(part));
  }
  if (thin_.bytes.size() > kThinBytesMax)
    return make_error(Code::kResourceExhausted, "the device state is larger than {} bytes",
                      kThinBytesMax);
  return check_description();
}

// The device sections carry no lengths, but after them come EOF and a description with one: a
// stream that was cut anywhere does not end in a description that reaches exactly to its end.
Status Splitter::check_description() const {
  const std::vector<std::byte>& all = thin_.bytes;
  const auto at = [&](size_t i) { return static_cast<uint8_t>(all[i]); };
  constexpr size_t kHead = 6;  // EOF, type, be32 length
  if (all.size() > kHead && at(all.size() - 1) == '}')
    for (size_t i = all.size() - kHead; i-- > thin_.insert_offset;) {
      if (at(i) != kEof || at(i + 1) != kDescription) continue;
      const size_t length = static_cast<size_t>(at(i + 2)) << 24 |
                            static_cast<size_t>(at(i + 3)) << 16 |
                            static_cast<size_t>(at(i + 4)) << 8 | at(i + 5);
      if (length == all.size() - i - kHead && at(i + kHead) == '{') return {};
    }
  return broken("the device state is cut off; QEMU broke off");
}

}  // namespace

Result<ThinStream> split_ram_stream(ByteSource& source, PageSink& sink, uint64_t ram_bytes) {
  return Splitter(source, sink, ram_bytes).run();
}

void PageRecords::put_be(uint64_t value, unsigned size) {
  for (unsigned i = size; i-- > 0;) bytes_.push_back(static_cast<std::byte>(value >> (8 * i)));
}

void PageRecords::add(uint64_t offset, std::span<const std::byte> page) {
  const bool first = pages_in_section_ == 0;
  if (first) {
    put_be(kPart, 1);
    put_be(ram_section_, 4);
  }
  put_be(offset | kFlagPage | (first ? 0 : kFlagContinue), 8);
  if (first) {
    put_be(std::strlen(kRamBlock), 1);
    for (const char* c = kRamBlock; *c != 0; ++c) bytes_.push_back(static_cast<std::byte>(*c));
  }
  bytes_.insert(bytes_.end(), page.begin(), page.end());
  if (++pages_in_section_ == kPagesPerSection) end();
}

void PageRecords::end() {
  if (pages_in_section_ == 0) return;
  put_be(kFlagEos, 8);
  put_be(kFooter, 1);
  put_be(ram_section_, 4);
  pages_in_section_ = 0;
}

}  // namespace hozon
