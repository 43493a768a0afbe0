// How much of what is random or large a test does where every step is costly.
#pragma once

#include <cstdint>

/// One in so many. A step takes some twenty times as long with AddressSanitizer, which sees what it
/// looks for in the first schedule that comes by a line; rare orders are what the others are for.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr std::uint64_t one_in = 5;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr std::uint64_t one_in = 5;
#else
inline constexpr std::uint64_t one_in = 1;
#endif
#else
inline constexpr std::uint64_t one_in = 1;
#endif
