// The header comes first and alone: it includes all that it uses.
#include "little_raft.hpp"

int main() {}
