// expect: \bIndex\b
// An integer does not become an Index by itself.
#include "minimal.hpp"

void use(little_raft::Index& index) {
#ifdef FIXED
    index = little_raft::Index{7};
#else
    std::uint64_t position = 7;
    index = position;
#endif
}
