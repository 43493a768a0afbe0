#include "compiled.hpp"

namespace little_raft::testing {
LITTLE_RAFT_COMPILED(, DigestTest);
}
