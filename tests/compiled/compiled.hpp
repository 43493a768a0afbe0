// The test kit for some subjects, compiled once, each in a file here, for all tests that run them.
#pragma once

#include "../testing/little_raft_testing.hpp"

namespace little_raft::testing {

#define LITTLE_RAFT_COMPILED(keyword, S)                                            \
    keyword template class Simulator<S>;                                            \
    keyword template Result check<S>(const Settings&);                              \
    keyword template Result repeat<S>(const Case&, const Settings&, std::uint64_t); \
    keyword template Result replay<S>(const std::string&, const std::string&, const Settings&)

LITTLE_RAFT_COMPILED(extern, DigestTest);
LITTLE_RAFT_COMPILED(extern, MembersTest);

}  // namespace little_raft::testing
