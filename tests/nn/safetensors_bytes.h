// Files put together byte by byte, from the format's description, so that reader and writer do not only
// agree with each other.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace notch::test {

// u64 length, header, data.
inline std::string file_bytes(const std::string& header, std::size_t data_bytes) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(header.size() >> (8 * i));
  bytes += header;
  for (std::size_t i = 0; i < data_bytes; ++i) bytes += static_cast<char>(i);
  return bytes;
}

inline std::string entry(const std::string& dtype, const std::string& shape,
                         const std::string& offsets) {
  return "{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace notch::test
